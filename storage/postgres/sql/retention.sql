-- newest_session --
select max(expiration) as expiration from sessions

-- sessions_before --
select distinct symbol, expiration from sessions where expiration < %(before)s order by expiration, symbol

-- forget_rows --
delete from rows where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_profiles --
delete from profiles where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_chains --
delete from chains where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_gaps --
delete from gaps where symbol = %(symbol)s and expiration = %(expiration)s

-- forget_alerts --
-- Their deliveries go with them.
delete from alerts where session < %(before)s

-- forget_sessions --
-- A head stays: revisions never go back.
delete from sessions where expiration < %(before)s

-- size --
select pg_total_relation_size(%(table)s::regclass) as bytes

-- oldest_rows --
select 1 as found from rows where slot < %(before)s limit 1

-- oldest_profiles --
select 1 as found from profiles where slot < %(before)s limit 1

-- oldest_chains --
select 1 as found from chains where slot < %(before)s limit 1

-- oldest_gaps --
select 1 as found from gaps where slot < %(before)s limit 1

-- oldest_alerts --
select 1 as found from alerts where session < %(before)s limit 1

-- session_days --
select count(distinct expiration) as days from sessions

-- days_of_rows --
select count(distinct expiration) as days from sessions s
where exists (select 1 from rows t where t.symbol = s.symbol and t.expiration = s.expiration)

-- days_of_profiles --
select count(distinct expiration) as days from sessions s
where exists (select 1 from profiles t where t.symbol = s.symbol and t.expiration = s.expiration)

-- days_of_chains --
select count(distinct expiration) as days from sessions s
where exists (select 1 from chains t where t.symbol = s.symbol and t.expiration = s.expiration)

-- days_of_gaps --
select count(distinct expiration) as days from sessions s
where exists (select 1 from gaps t where t.symbol = s.symbol and t.expiration = s.expiration)

-- days_of_alerts --
select count(distinct session) as days from alerts
