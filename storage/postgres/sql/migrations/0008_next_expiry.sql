-- The next day on which anything of the symbol expires, where the source of a gap's chain lists one.
-- Gaps of earlier releases say it in their detail alone, and have null here.
alter table gaps add column next_expiry date;
