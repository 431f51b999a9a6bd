-- newest_session --
select max(expiration) as expiration from sessions

-- sessions_before --
select symbol, expiration from sessions where expiration < %(before)s order by expiration, symbol

-- forget_rows --
delete from rows where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_profiles --
delete from profiles where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_chains --
delete from chains where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_gaps --
delete from gaps where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_sessions --
-- A head stays: revisions never go back.
delete from sessions where expiration < %(before)s

-- size --
select pg_total_relation_size(%(table)s::regclass) as bytes
