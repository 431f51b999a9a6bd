-- ``detail`` may have a projection. An older release cannot read such rows, so it must refuse the
-- database: this step adds nothing else.
select;
