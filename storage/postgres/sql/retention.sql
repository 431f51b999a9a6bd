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

-- Days with sessions, and how many whole sessions they come to: one under way, and a short one, count in part.
-- days_of_rows --
select count(*) as days, sum(part) as worth from (
  select least(1, extract(epoch from max(last_slot) - min(first_slot) + interval '30 seconds')::float8 / 23400) as part
  from sessions s
  where exists (select 1 from rows t where t.symbol = s.symbol and t.expiration = s.expiration)
  group by expiration
) as day

-- days_of_profiles --
select count(*) as days, sum(part) as worth from (
  select least(1, extract(epoch from max(last_slot) - min(first_slot) + interval '30 seconds')::float8 / 23400) as part
  from sessions s
  where exists (select 1 from profiles t where t.symbol = s.symbol and t.expiration = s.expiration)
  group by expiration
) as day

-- days_of_chains --
select count(*) as days, sum(part) as worth from (
  select least(1, extract(epoch from max(last_slot) - min(first_slot) + interval '30 seconds')::float8 / 23400) as part
  from sessions s
  where exists (select 1 from chains t where t.symbol = s.symbol and t.expiration = s.expiration)
  group by expiration
) as day

-- days_of_gaps --
select count(distinct expiration) as days, count(distinct expiration)::float8 as worth from sessions s
where exists (select 1 from gaps t where t.symbol = s.symbol and t.expiration = s.expiration)

-- days_of_alerts --
select count(distinct session) as days, count(distinct session)::float8 as worth from alerts
