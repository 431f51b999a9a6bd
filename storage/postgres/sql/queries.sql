-- lock --
-- Only one transaction writes to a dataset at a time, so that revisions become visible in order.
select pg_advisory_xact_lock(hashtextextended('zerodte-flow writes ' || current_schema(), 0))

-- standing --
-- The heads of symbols before a write, and the sources of their sessions.
select symbol, revision, null::date as expiration, null as source
from heads where symbol = any(%(symbols)s)
union all
select symbol, null, expiration, source from sessions
where (symbol, expiration) in (select * from unnest(%(symbols)s::text[], %(expirations)s::date[]))

-- replaces --
-- Whether a record takes the place of the row of its slot. The rule comes as parameters, from
-- storage.record.mode.
case case when rows.backfilled then %(over_backfilled)s::text else %(over_sampled)s::text end
     when 'always' then true when 'later' then {offered_at} > rows.quoted_at else false end

-- settled --
-- Which slots of a batch have a row that no record of the batch replaces: their records need not be
-- sent.
select symbol, expiration, slot
from unnest(%(symbols)s::text[], %(expirations)s::date[], %(slots)s::timestamptz[],
            %(quoted)s::timestamptz[]) as k (symbol, expiration, slot, quoted_at)
join rows using (symbol, expiration, slot)
where slot between %(first)s and %(last)s
  and not ({replaces})

-- incoming --
-- The rows of a batch, in order; they are gone after the transaction.
create temp table if not exists incoming on commit delete rows as
select {columns}, 0 as ordinal from rows with no data

-- nothing_incoming --
-- Empty the temporary table for the next part of the batch.
delete from incoming

-- incoming_kinds --
-- The types of the columns, without a row.
select {columns}, ordinal from incoming limit 0

-- upsert_rows --
-- Write the rows that came by COPY.
insert into rows ({columns}, backfilled)
select {columns}, %(backfilled)s from incoming order by ordinal
{conflict}

-- upsert_row --
-- Write one row.
insert into rows ({columns}, backfilled) values ({values}, %(backfilled)s)
{conflict}

-- conflict --
-- What happens to a slot that has a row. A record that changes nothing writes nothing and returns
-- nothing, unless the mode writes equal records too.
on conflict (symbol, expiration, slot) do update
set {assignments}, revision = nextval('revision'),
    backfilled = case when %(keeps_origin)s then rows.backfilled else excluded.backfilled end
where ({replaces}) and (%(writes_equal)s or ({stored}) is distinct from ({offered}))
returning symbol, expiration, slot, revision

-- close_gaps --
-- Remove the gaps of slots that have a row.
delete from gaps using unnest(%(symbols)s::text[], %(expirations)s::date[], %(slots)s::timestamptz[])
    as k (symbol, expiration, slot)
where (gaps.symbol, gaps.expiration, gaps.slot) = (k.symbol, k.expiration, k.slot)
  and gaps.slot between %(first)s and %(last)s

-- drop_profiles --
-- Remove the profiles of slots whose row has changed.
delete from profiles using unnest(%(symbols)s::text[], %(expirations)s::date[], %(slots)s::timestamptz[])
    as k (symbol, expiration, slot)
where (profiles.symbol, profiles.expiration, profiles.slot) = (k.symbol, k.expiration, k.slot)
  and profiles.slot between %(first)s and %(last)s

-- drop_chains --
-- Remove the chains of slots whose row has changed.
delete from chains using unnest(%(symbols)s::text[], %(expirations)s::date[], %(slots)s::timestamptz[])
    as k (symbol, expiration, slot)
where (chains.symbol, chains.expiration, chains.slot) = (k.symbol, k.expiration, k.slot)
  and chains.slot between %(first)s and %(last)s

-- mark_gaps --
-- Write the gaps of slots without a row. A stored gap that is equal keeps its revision. A stored gap
-- keeps its reason if the new one only says that no sampler ran.
insert into gaps (symbol, expiration, slot, reason, detail, next_expiry)
select k.* from unnest(%(symbols)s::text[], %(expirations)s::date[], %(slots)s::timestamptz[],
                       %(reasons)s::text[], %(details)s::text[], %(next_expiries)s::date[])
    as k (symbol, expiration, slot, reason, detail, next_expiry)
where not exists (
    select from rows where (rows.symbol, rows.expiration, rows.slot) = (k.symbol, k.expiration, k.slot)
      and rows.slot between %(first)s and %(last)s)
on conflict (symbol, expiration, slot) do update
set reason = excluded.reason, detail = excluded.detail, next_expiry = excluded.next_expiry,
    revision = nextval('revision')
where (gaps.reason, gaps.detail, gaps.next_expiry)
      is distinct from (excluded.reason, excluded.detail, excluded.next_expiry)
  and excluded.reason not in ('not_running', 'not_sampled')
returning symbol, expiration, slot, revision

-- advance_sessions --
-- Update each session's newest revision and extent. Its source is that of its first row.
insert into sessions (symbol, expiration, source, first_slot, last_slot, revision)
select * from unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
                     %(firsts)s::timestamptz[], %(lasts)s::timestamptz[], %(revisions)s::bigint[])
on conflict (symbol, expiration) do update
set source = coalesce(sessions.source, excluded.source),
    first_slot = least(sessions.first_slot, excluded.first_slot),
    last_slot = greatest(sessions.last_slot, excluded.last_slot),
    revision = greatest(sessions.revision, excluded.revision)

-- advance_heads --
-- Update each symbol's newest revision.
insert into heads (symbol, revision) select * from unnest(%(symbols)s::text[], %(revisions)s::bigint[])
on conflict (symbol) do update set revision = excluded.revision

-- record --
-- The newest slot record of a session before a moment.
select r.*, {sent}, c.evidence
from (select * from rows
      where symbol = %(symbol)s and expiration = %(expiration)s and slot < %(before)s
        and slot >= %(first)s and slot < %(last)s
      order by slot desc limit 1) r
join profiles p on p.symbol = r.symbol and p.expiration = r.expiration and p.slot = r.slot
    and p.slot >= %(first)s and p.slot < %(last)s
join chains c on c.symbol = r.symbol and c.expiration = r.expiration and c.slot = r.slot
    and c.slot >= %(first)s and c.slot < %(last)s

-- slots --
-- The slots of a session that have a row.
select slot from rows where symbol = %(symbol)s and expiration = %(expiration)s
  and slot >= %(first)s and slot < %(last)s order by slot

-- gaps --
-- The gaps of a session.
select slot, reason, detail, next_expiry, revision from gaps
where symbol = %(symbol)s and expiration = %(expiration)s
  and slot >= %(first)s and slot < %(last)s order by slot

-- session --
-- Every row of a session, then one more with columns of the newest row and with the gaps, as JSON. It
-- is one statement, so that all is of one state of the database.
(select revision, extract(epoch from slot)::bigint, {columns}, null::text from rows
 where symbol = %(symbol)s and expiration = %(expiration)s
   and slot >= %(first)s and slot < %(last)s order by slot)
union all
select null, 9223372036854775807, {nothing}, json_build_object(
    'newest', (select row_to_json(newest) from (
        select {facts} from rows
        where symbol = %(symbol)s and expiration = %(expiration)s
          and slot >= %(first)s and slot < %(last)s order by slot desc limit 1) newest),
    'gaps', (select coalesce(json_agg(json_build_array(revision, slot, reason) order by slot), '[]')
             from gaps where symbol = %(symbol)s and expiration = %(expiration)s
               and slot >= %(first)s and slot < %(last)s))::text

-- window --
-- The last row of each bucket; revision is the newest of the whole bucket.
select distinct on (bucket) date_bin(%(width)s, slot, timestamptz '2000-01-03 00:00Z') as bucket,
       {columns}, max(revision) over (partition by date_bin(%(width)s, slot, timestamptz '2000-01-03 00:00Z')) as revision
from rows
where symbol = %(symbol)s and expiration = %(expiration)s
  and slot >= %(start)s and slot < %(until)s
order by bucket, slot desc

-- newest --
-- The newest row of a session, and the session's newest revision.
select {columns}, (select revision from sessions
                   where symbol = %(symbol)s and expiration = %(expiration)s) as cursor
from (select 1) one left join lateral (
    select * from rows where symbol = %(symbol)s and expiration = %(expiration)s
      and slot >= %(first)s and slot < %(last)s
    order by slot desc limit 1) r on true

-- known --
-- Whether a symbol has a row or a gap.
select exists (select from heads where symbol = %(symbol)s)

-- symbols --
-- Every symbol that has rows, and its newest slot.
select newest.symbol, r.slot
from (select distinct on (symbol) symbol, expiration, first_slot, last_slot from sessions
      where source is not null order by symbol, expiration desc) newest
cross join lateral (
    select slot from rows
    where rows.symbol = newest.symbol and rows.expiration = newest.expiration
      and rows.slot between newest.first_slot and newest.last_slot
    order by slot desc limit 1) r
order by newest.symbol

-- sampled --
-- Symbols that a daemon sampled on one of two days, with the newest row and gap of the second day.
select w.symbol, w.noted, r.slot, coalesce(r.delay_seconds, earlier.delay_seconds) as delay_seconds,
       g.slot as gap_slot, g.reason
from (select symbol, max(expiration) as noted from watched
      where expiration in (%(previous)s, %(day)s) group by symbol) w
left join lateral (
    select slot, delay_seconds from rows
    where symbol = w.symbol and expiration = %(day)s and slot >= %(open)s and slot < %(close)s
    order by slot desc limit 1) r on true
left join lateral (
    select delay_seconds from rows
    where r.slot is null and symbol = w.symbol and expiration = %(previous)s
      and slot >= %(since)s and slot < %(open)s
    order by slot desc limit 1) earlier on true
left join lateral (
    select slot, reason from gaps
    where symbol = w.symbol and expiration = %(day)s and slot >= %(open)s and slot < %(close)s
    order by slot desc limit 1) g on true
order by w.symbol

-- server_state --
-- The server's clock and the size of the database.
select clock_timestamp() as now, pg_database_size(current_database()) as bytes

-- newest_slot --
-- The newest slot of the dataset that has a row.
select max(r.slot) as slot
from (select symbol, expiration, first_slot, last_slot from sessions
      where expiration = (select max(expiration) from sessions where source is not null)) newest
cross join lateral (
    select max(slot) as slot from rows
    where rows.symbol = newest.symbol and rows.expiration = newest.expiration
      and rows.slot between newest.first_slot and newest.last_slot) r

-- coverage --
-- Counts of rows and gaps of each symbol and session, and whether a daemon sampled it.
select symbol, expiration, coalesce(r.n, 0) as rows, coalesce(g.n, 0) as gaps, g.reasons, r.sources,
       w.since is not null as owned, r.delay
from (select symbol, expiration, count(*) as n, array_agg(distinct source) as sources,
             max(delay_seconds) as delay
      from rows where expiration between %(first)s and %(last)s
        and (%(symbols)s::text[] is null or symbol = any(%(symbols)s))
        and slot >= %(since)s and slot < %(until)s
      group by 1, 2) r
full join (
    select symbol, expiration, sum(n)::bigint as n, jsonb_object_agg(reason, n) as reasons
    from (select symbol, expiration, reason, count(*) as n
          from gaps where expiration between %(first)s and %(last)s
            and (%(symbols)s::text[] is null or symbol = any(%(symbols)s))
            and slot >= %(since)s and slot < %(until)s
          group by 1, 2, 3) by_reason
    group by 1, 2) g
using (symbol, expiration)
left join watched w using (symbol, expiration)
order by expiration, symbol

-- cursor --
-- The newest revision of the dataset.
select coalesce(max(revision), 0) as revision from heads

-- heads --
-- The newest revision of each symbol.
select symbol, revision from heads
where (%(symbols)s::text[] is null or symbol = any(%(symbols)s)) order by symbol

-- behind --
-- The symbols that have changed beyond a cursor, and the extent of their changed sessions.
select f.symbol, f.after, h.revision as head, s.first, s.last
from unnest(%(symbols)s::text[], %(after)s::bigint[]) as f (symbol, after)
join heads h on h.symbol = f.symbol and h.revision > f.after
cross join lateral (select min(first_slot) as first, max(last_slot) as last from sessions
                    where sessions.symbol = f.symbol and sessions.revision > f.after) s
order by f.symbol

-- changed_rows --
-- Rows beyond each cursor up to each head, in the order in which they were stored.
select r.* from unnest(%(symbols)s::text[], %(after)s::bigint[], %(heads)s::bigint[])
    as f (symbol, after, head)
cross join lateral (
    select revision, {columns} from rows
    where rows.symbol = f.symbol and revision > f.after and revision <= f.head
      and slot >= %(first)s and slot <= %(last)s
    order by revision limit %(limit)s) r
order by symbol, revision

-- changed_gaps --
-- Gaps beyond each cursor up to each head, in the order in which they were stored.
select g.* from unnest(%(symbols)s::text[], %(after)s::bigint[], %(heads)s::bigint[])
    as f (symbol, after, head)
cross join lateral (
    select revision, symbol, expiration, slot, reason, detail, next_expiry from gaps
    where gaps.symbol = f.symbol and revision > f.after and revision <= f.head
      and slot >= %(first)s and slot <= %(last)s) g
order by symbol, revision

-- records --
-- The slot records of a session, in order. They are sorted before their arrays are read; otherwise
-- the sort would go through a file.
select {columns}, {sent_later}, evidence
from (select r.*, {named}, c.evidence
      from rows r join profiles p using (symbol, expiration, slot) join chains c using (symbol, expiration, slot)
      where symbol = %(symbol)s and expiration = %(expiration)s
        and r.slot >= %(first)s and r.slot < %(last)s
        and p.slot >= %(first)s and p.slot < %(last)s
        and c.slot >= %(first)s and c.slot < %(last)s
      order by slot offset 0) sorted
order by slot

-- states --
-- The slot records of a session without their profiles.
select r.*, c.evidence from rows r join chains c using (symbol, expiration, slot)
where symbol = %(symbol)s and expiration = %(expiration)s
  and r.slot >= %(first)s and r.slot < %(last)s
  and c.slot >= %(first)s and c.slot < %(last)s
order by slot

-- lease_session --
-- Set how soon the server ends a session whose client is dead, cut off or silent.
select set_config(name, value, false)
from (values ('idle_session_timeout', %(silence)s), ('tcp_keepalives_idle', '4'),
             ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),
             ('tcp_user_timeout', '10s')) wanted (name, value)
join pg_settings using (name)

-- lease --
-- Lock symbols that are free, in the given order, and no more than there is room for.
select symbol from unnest(%(symbols)s::text[]) symbol
where pg_try_advisory_lock(hashtextextended('zerodte-flow samples ' || current_schema() || ' ' || symbol, 0))
limit %(room)s

-- read_only --
-- Whether the server takes no writes: it is a standby, or was set to read-only.
select current_setting('transaction_read_only')::bool or pg_is_in_recovery() as closed

-- unheld --
-- Symbols whose advisory lock nobody holds: no sampler samples them.
select symbol from unnest(%(symbols)s::text[]) symbol
cross join lateral (
    select hashtextextended('zerodte-flow samples ' || current_schema() || ' ' || symbol, 0) as key) lock
where not exists (
    select 1 from pg_locks l
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())
      and l.classid::bigint = ((lock.key >> 32) & 4294967295)
      and l.objid::bigint = (lock.key & 4294967295))

-- lease_release --
-- Release the symbols at once: the server ends a session only a moment after its client has left.
select pg_advisory_unlock_all()

-- own --
-- Note that a daemon samples a session of some symbols.
insert into watched (symbol, expiration) select symbol, %(expiration)s from unnest(%(symbols)s::text[]) symbol
on conflict do nothing

-- accounted --
-- The slots of a session that are a row or a gap.
select slot from rows where symbol = %(symbol)s and expiration = %(expiration)s
  and slot >= %(first)s and slot < %(last)s
union select slot from gaps where symbol = %(symbol)s and expiration = %(expiration)s
  and slot >= %(first)s and slot < %(last)s

-- watched --
-- Sessions that a daemon sampled, and how many of their slots are a row or a gap.
select w.symbol, w.expiration,
       (select count(*) from rows r where r.symbol = w.symbol and r.expiration = w.expiration
          and r.slot between s.first_slot and s.last_slot)
     + (select count(*) from gaps g where g.symbol = w.symbol and g.expiration = w.expiration
          and g.slot between s.first_slot and s.last_slot) as accounted
from watched w left join sessions s on s.symbol = w.symbol and s.expiration = w.expiration
where w.symbol = any(%(symbols)s) and w.expiration between %(first)s and %(last)s
order by w.expiration, w.symbol

-- profiles --
-- The last row of each bucket, with arrays of its profile. The rows are picked by key alone, so that
-- arrays are read only for the last row of a bucket.
select b.bucket, b.slot, b.spot, b.oi_confidence, {sent}
from (select distinct on (bucket)
             date_bin(%(width)s, slot, timestamptz '2000-01-03 00:00Z') as bucket,
             slot, spot, oi_confidence
      from rows
      where symbol = %(symbol)s and expiration = %(expiration)s
        and slot >= %(start)s and slot < %(until)s
      order by bucket, slot desc) b
left join profiles p
  on p.symbol = %(symbol)s and p.expiration = %(expiration)s and p.slot = b.slot
  and p.slot >= %(start)s and p.slot < %(until)s
order by b.bucket

-- profile_before --
-- The newest row before a moment, or else the session's first row, with arrays of its profile.
select r.slot as bucket, r.slot, r.spot, r.oi_confidence, {sent}
from rows r
left join profiles p on p.symbol = r.symbol and p.expiration = r.expiration and p.slot = r.slot
  and p.slot >= %(first)s and p.slot < %(last)s
where r.symbol = %(symbol)s and r.expiration = %(expiration)s
  and r.slot >= %(first)s and r.slot < %(last)s and r.slot = coalesce(
    (select max(slot) from rows
     where symbol = %(symbol)s and expiration = %(expiration)s and slot < %(before)s
       and slot >= %(first)s and slot < %(last)s),
    (select min(slot) from rows where symbol = %(symbol)s and expiration = %(expiration)s
       and slot >= %(first)s and slot < %(last)s))

-- figures_before --
-- The newest row before a moment.
select {columns} from rows
where symbol = %(symbol)s and expiration = %(expiration)s and slot < %(before)s
  and slot >= %(first)s and slot < %(last)s
order by slot desc limit 1

-- moment --
-- The newest row of a session that was quoted by a moment, with its profile.
select r.*, {sent}
from (select * from rows
      where symbol = %(symbol)s and expiration = %(expiration)s
        and slot >= %(first)s and slot < %(last)s
        and (%(until)s::timestamptz is null or quoted_at <= %(until)s)
      order by slot desc limit 1) r
left join profiles p on p.symbol = r.symbol and p.expiration = r.expiration and p.slot = r.slot
  and p.slot >= %(first)s and p.slot < %(last)s

-- newest_day --
-- The newest day up to another that has a row of a symbol.
select max(expiration) from sessions
where symbol = %(symbol)s and expiration <= %(until)s and source is not null

-- board --
-- Each symbol's newest row up to a day, found by way of its session.
select r.*
from (select distinct on (symbol) symbol, expiration, first_slot, last_slot from sessions
      where source is not null and expiration <= %(until)s order by symbol, expiration desc) newest
cross join lateral (
    select {columns} from rows
    where rows.symbol = newest.symbol and rows.expiration = newest.expiration
      and rows.slot between newest.first_slot and newest.last_slot
    order by slot desc limit 1) r
order by newest.symbol

-- sessions --
-- Each stored day of a symbol: counts and the median time from row to row, which only need the key,
-- and the newest row's source. Each day is looked up within its own extent.
select s.expiration, r.n as rows, r.first, r.last, r.step, coalesce(g.n, 0) as gaps, g.reasons,
       l.source
from sessions s
cross join lateral (
    select count(*) as n, min(slot) as first, max(slot) as last,
           percentile_disc(0.5) within group (order by step) as step
    from (select slot, slot - lag(slot) over (order by slot) as step from rows
          where rows.symbol = s.symbol and rows.expiration = s.expiration
            and rows.slot between s.first_slot and s.last_slot) of_day) r
cross join lateral (
    select sum(n)::bigint as n, jsonb_object_agg(reason, n) as reasons
    from (select reason, count(*) as n from gaps
          where gaps.symbol = s.symbol and gaps.expiration = s.expiration
            and gaps.slot between s.first_slot and s.last_slot
          group by reason) by_reason) g
left join lateral (
    select source from rows
    where rows.symbol = s.symbol and rows.expiration = s.expiration and rows.slot = r.last) l on true
where s.symbol = %(symbol)s and (r.n > 0 or g.n > 0)
order by s.expiration
