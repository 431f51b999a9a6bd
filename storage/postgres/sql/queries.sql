-- lock --
-- Only one transaction writes to a dataset at a time, so that revisions become visible in order. The
-- server ends a session whose process is stopped in the middle: all others wait for its lock.
select set_config('idle_in_transaction_session_timeout', '20s', true),
       pg_advisory_xact_lock(hashtextextended('zerodte-flow writes ' || current_schema(), 0))

-- give_up --
-- Set how soon the server ends a session whose client is dead or cut off, with the locks that it holds.
select set_config(name, value, false)
from (values ('tcp_keepalives_idle', '4'), ('tcp_keepalives_interval', '2'),
             ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '10s')) wanted (name, value)
join pg_settings using (name)

-- standing --
-- The heads of symbols before a write, and the feeds of their sessions.
select symbol, revision, null::date as expiration, null as source, null as shown
from heads where symbol = any(%(symbols)s)
union all
select symbol, null, expiration, source, shown from sessions
where (symbol, expiration) in (select * from unnest(%(symbols)s::text[], %(expirations)s::date[]))

-- replaces --
-- Whether a record takes the place of the row of its slot. The rule comes as parameters, from
-- storage.record.mode.
case case when rows.backfilled then %(over_backfilled)s::text else %(over_sampled)s::text end
     when 'always' then true when 'later' then {offered_at} > rows.quoted_at else false end

-- settled --
-- Which slots of a batch have a row that no record of the batch replaces: their records need not be
-- sent.
select symbol, expiration, source, slot
from unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
            %(slots)s::timestamptz[], %(quoted)s::timestamptz[])
    as k (symbol, expiration, source, slot, quoted_at)
join rows using (symbol, expiration, source, slot)
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
on conflict (symbol, expiration, source, slot) do update
set {assignments}, revision = nextval('revision'),
    backfilled = case when %(keeps_origin)s then rows.backfilled else excluded.backfilled end
where ({replaces}) and (%(writes_equal)s or ({stored}) is distinct from ({offered}))
returning symbol, expiration, source, slot, revision

-- close_gaps --
-- Remove the gaps of slots that have a row.
delete from gaps using unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
                        %(slots)s::timestamptz[]) as k (symbol, expiration, source, slot)
where (gaps.symbol, gaps.expiration, gaps.source, gaps.slot) = (k.symbol, k.expiration, k.source, k.slot)
  and gaps.slot between %(first)s and %(last)s

-- drop_profiles --
-- Remove the profiles of slots whose row has changed.
delete from profiles using unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
                        %(slots)s::timestamptz[]) as k (symbol, expiration, source, slot)
where (profiles.symbol, profiles.expiration, profiles.source, profiles.slot) = (k.symbol, k.expiration, k.source, k.slot)
  and profiles.slot between %(first)s and %(last)s

-- drop_chains --
-- Remove the chains of slots whose row has changed.
delete from chains using unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
                        %(slots)s::timestamptz[]) as k (symbol, expiration, source, slot)
where (chains.symbol, chains.expiration, chains.source, chains.slot) = (k.symbol, k.expiration, k.source, k.slot)
  and chains.slot between %(first)s and %(last)s

-- mark_gaps --
-- Write the gaps of slots without a row. A stored gap that is equal keeps its revision. A stored gap
-- keeps its reason if the new one only says that no sampler ran.
insert into gaps (symbol, expiration, source, slot, reason, detail, next_expiry)
select k.* from unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
                       %(slots)s::timestamptz[], %(reasons)s::text[], %(details)s::text[],
                       %(next_expiries)s::date[])
    as k (symbol, expiration, source, slot, reason, detail, next_expiry)
where not exists (
    select from rows
    where (rows.symbol, rows.expiration, rows.source, rows.slot) = (k.symbol, k.expiration, k.source, k.slot)
      and rows.slot between %(first)s and %(last)s)
on conflict (symbol, expiration, source, slot) do update
set reason = excluded.reason, detail = excluded.detail, next_expiry = excluded.next_expiry,
    revision = nextval('revision')
where (gaps.reason, gaps.detail, gaps.next_expiry)
      is distinct from (excluded.reason, excluded.detail, excluded.next_expiry)
  and excluded.reason not in ('not_running', 'not_sampled')
returning symbol, expiration, source, slot, revision

-- advance_sessions --
-- Update each session's newest revision and extent. The first feed of a session is shown.
insert into sessions (symbol, expiration, source, first_slot, last_slot, revision, has_rows, shown)
select k.*, not exists (select from sessions s where (s.symbol, s.expiration) = (k.symbol, k.expiration))
from unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
            %(firsts)s::timestamptz[], %(lasts)s::timestamptz[], %(revisions)s::bigint[],
            %(have_rows)s::boolean[]) as k (symbol, expiration, source, first, last, revision, has_rows)
on conflict (symbol, expiration, source) do update
set has_rows = sessions.has_rows or excluded.has_rows,
    first_slot = least(sessions.first_slot, excluded.first_slot),
    last_slot = greatest(sessions.last_slot, excluded.last_slot),
    revision = greatest(sessions.revision, excluded.revision)

-- choose_shown --
-- Choose which feed is shown of sessions that have several: one with rows before one without; the
-- feed that a sampler was configured with before its fallback and before filled ones; then the one
-- with most rows.
update sessions set shown = sessions.source = chosen.source
from (select distinct on (s.symbol, s.expiration) s.symbol, s.expiration, s.source
      from sessions s left join watched w using (symbol, expiration, source)
      where (s.symbol, s.expiration) in (select * from unnest(%(symbols)s::text[], %(expirations)s::date[]))
      order by s.symbol, s.expiration, s.has_rows desc, coalesce(w.fallback, true),
               (select count(*) from rows r
                where (r.symbol, r.expiration, r.source) = (s.symbol, s.expiration, s.source)
                  and r.slot between s.first_slot and s.last_slot) desc, s.source) chosen
where (sessions.symbol, sessions.expiration) = (chosen.symbol, chosen.expiration)
  and sessions.shown <> (sessions.source = chosen.source)

-- shown --
-- The feed that answers show of a session: the one that was asked for, or else the shown one.
coalesce(%(feed)s::text, (select source from sessions where symbol = %(symbol)s
                          and expiration = %(expiration)s and shown))

-- feeds --
-- The feeds that have rows of a session, and which of them is shown.
select source, shown from sessions
where symbol = %(symbol)s and expiration = %(expiration)s and has_rows order by source

-- feeds_of --
-- The feeds that have rows of a symbol, or of any.
select distinct source from sessions
where (%(symbol)s::text is null or symbol = %(symbol)s) and has_rows order by source

-- advance_heads --
-- Update each symbol's newest revision.
insert into heads (symbol, revision) select * from unnest(%(symbols)s::text[], %(revisions)s::bigint[])
on conflict (symbol) do update set revision = excluded.revision

-- record --
-- The newest slot record of a session before a moment.
select r.*, {sent}, c.evidence
from (select * from rows
      where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed} and slot < %(before)s
        and slot >= %(first)s and slot < %(last)s
      order by slot desc limit 1) r
join profiles p on p.symbol = r.symbol and p.expiration = r.expiration and p.source = r.source and p.slot = r.slot
    and p.slot >= %(first)s and p.slot < %(last)s
join chains c on c.symbol = r.symbol and c.expiration = r.expiration and c.source = r.source and c.slot = r.slot
    and c.slot >= %(first)s and c.slot < %(last)s

-- slots --
-- The slots of a session that have a row.
select slot from rows where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and slot >= %(first)s and slot < %(last)s order by slot

-- gaps --
-- The gaps of a session.
select slot, reason, detail, next_expiry, revision from gaps
where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and slot >= %(first)s and slot < %(last)s order by slot

-- session --
-- Every row of a session, then one more with columns of the newest row and with the gaps, as JSON. It
-- is one statement, so that all is of one state of the database.
(select revision, extract(epoch from slot)::bigint, {columns}, null::text from rows
 where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
   and slot >= %(first)s and slot < %(last)s order by slot)
union all
select null, 9223372036854775807, {nothing}, json_build_object(
    'newest', (select row_to_json(newest) from (
        select {facts} from rows
        where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
          and slot >= %(first)s and slot < %(last)s order by slot desc limit 1) newest),
    'feed', {feed},
    'gaps', (select coalesce(json_agg(json_build_array(revision, slot, reason) order by slot), '[]')
             from gaps where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
               and slot >= %(first)s and slot < %(last)s))::text

-- window --
-- The last row of each bucket; revision is the newest of the whole bucket.
select distinct on (bucket) date_bin(%(width)s, slot, timestamptz '2000-01-03 00:00Z') as bucket,
       {columns}, max(revision) over (partition by date_bin(%(width)s, slot, timestamptz '2000-01-03 00:00Z')) as revision
from rows
where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and slot >= %(start)s and slot < %(until)s
order by bucket, slot desc

-- newest --
-- The newest row of a session, the session's newest revision, and its feed.
select {columns}, (select revision from sessions
                   where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}) as cursor,
       {feed} as feed
from (select 1) one left join lateral (
    select * from rows where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
      and slot >= %(first)s and slot < %(last)s
    order by slot desc limit 1) r on true

-- known --
-- Whether a symbol has a row or a gap.
select exists (select from heads where symbol = %(symbol)s)

-- symbols --
-- Every symbol that has rows, and its newest slot.
select newest.symbol, r.slot
from (select distinct on (symbol) symbol, expiration, source, first_slot, last_slot from sessions
      where has_rows and shown order by symbol, expiration desc) newest
cross join lateral (
    select slot from rows
    where rows.symbol = newest.symbol and rows.expiration = newest.expiration
      and rows.source = newest.source
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
from (select symbol, expiration, source, first_slot, last_slot from sessions
      where expiration = (select max(expiration) from sessions where has_rows)) newest
cross join lateral (
    select max(slot) as slot from rows
    where rows.symbol = newest.symbol and rows.expiration = newest.expiration
      and rows.source = newest.source
      and rows.slot between newest.first_slot and newest.last_slot) r

-- coverage --
-- Counts of rows and gaps of each symbol, session and feed, whether a daemon sampled it, and whether
-- answers show it.
select symbol, expiration, source, coalesce(r.n, 0) as rows, coalesce(g.n, 0) as gaps, g.reasons,
       w.since is not null as owned, r.delay, coalesce(s.shown, false) as shown
from (select symbol, expiration, source, count(*) as n, max(delay_seconds) as delay
      from rows where expiration between %(first)s and %(last)s
        and (%(symbols)s::text[] is null or symbol = any(%(symbols)s))
        and slot >= %(since)s and slot < %(until)s
      group by 1, 2, 3) r
full join (
    select symbol, expiration, source, sum(n)::bigint as n, jsonb_object_agg(reason, n) as reasons
    from (select symbol, expiration, source, reason, count(*) as n
          from gaps where expiration between %(first)s and %(last)s
            and (%(symbols)s::text[] is null or symbol = any(%(symbols)s))
            and slot >= %(since)s and slot < %(until)s
          group by 1, 2, 3, 4) by_reason
    group by 1, 2, 3) g
using (symbol, expiration, source)
left join watched w using (symbol, expiration, source)
left join sessions s using (symbol, expiration, source)
order by expiration, symbol, source

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
    select revision, symbol, expiration, source, slot, reason, detail, next_expiry from gaps
    where gaps.symbol = f.symbol and revision > f.after and revision <= f.head
      and slot >= %(first)s and slot <= %(last)s) g
order by symbol, revision

-- records --
-- The slot records of a session, in order. They are sorted before their arrays are read; otherwise
-- the sort would go through a file.
select {columns}, {sent_later}, evidence
from (select r.*, {named}, c.evidence
      from rows r join profiles p using (symbol, expiration, source, slot) join chains c using (symbol, expiration, source, slot)
      where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
        and r.slot >= %(first)s and r.slot < %(last)s
        and p.slot >= %(first)s and p.slot < %(last)s
        and c.slot >= %(first)s and c.slot < %(last)s
      order by slot offset 0) sorted
order by slot

-- states --
-- The slot records of a session without their profiles.
select r.*, c.evidence from rows r join chains c using (symbol, expiration, source, slot)
where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and r.slot >= %(first)s and r.slot < %(last)s
  and c.slot >= %(first)s and c.slot < %(last)s
order by slot

-- lease_session --
-- Set how soon the server ends a session whose client is silent, and whose it is.
select set_config(name, value, false)
from (values ('idle_session_timeout', %(silence)s), ('application_name', %(owner)s)) wanted (name, value)
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

-- holders --
-- Who holds the advisory lock of each symbol, as its lease names itself.
select symbol, a.application_name as holder from unnest(%(symbols)s::text[]) symbol
cross join lateral (
    select hashtextextended('zerodte-flow samples ' || current_schema() || ' ' || symbol, 0) as key) lock
join pg_locks l
  on l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid::bigint = ((lock.key >> 32) & 4294967295)
  and l.objid::bigint = (lock.key & 4294967295)
join pg_stat_activity a using (pid)
where a.application_name <> ''

-- lease_release --
-- Release the symbols at once: the server ends a session only a moment after its client has left.
select pg_advisory_unlock_all()

-- own --
-- Note that a daemon samples a session of some symbols, each from a feed.
insert into watched (symbol, expiration, source, fallback)
select k.symbol, %(expiration)s, k.source, %(fallback)s
from unnest(%(symbols)s::text[], %(sources)s::text[]) as k (symbol, source)
on conflict do nothing

-- accounted --
-- The slots of a session that are a row or a gap.
select slot from rows where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and slot >= %(first)s and slot < %(last)s
union select slot from gaps where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and slot >= %(first)s and slot < %(last)s

-- watched --
-- Sessions that a daemon sampled, and how many of their slots are a row or a gap.
select w.symbol, w.expiration, w.source,
       (select count(*) from rows r
        where (r.symbol, r.expiration, r.source) = (w.symbol, w.expiration, w.source)
          and r.slot between s.first_slot and s.last_slot)
     + (select count(*) from gaps g
        where (g.symbol, g.expiration, g.source) = (w.symbol, w.expiration, w.source)
          and g.slot between s.first_slot and s.last_slot) as accounted
from watched w left join sessions s using (symbol, expiration, source)
where w.symbol = any(%(symbols)s) and w.expiration between %(first)s and %(last)s
order by w.expiration, w.symbol, w.source

-- profiles --
-- The last row of each bucket, with arrays of its profile. The rows are picked by key alone, so that
-- arrays are read only for the last row of a bucket.
select b.bucket, b.slot, b.spot, b.oi_confidence, {sent}
from (select distinct on (bucket)
             date_bin(%(width)s, slot, timestamptz '2000-01-03 00:00Z') as bucket,
             slot, spot, oi_confidence
      from rows
      where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
        and slot >= %(start)s and slot < %(until)s
      order by bucket, slot desc) b
left join profiles p
  on p.symbol = %(symbol)s and p.expiration = %(expiration)s and p.source = {feed} and p.slot = b.slot
  and p.slot >= %(start)s and p.slot < %(until)s
order by b.bucket

-- profile_before --
-- The newest row before a moment, or else the session's first row, with arrays of its profile.
select r.slot as bucket, r.slot, r.spot, r.oi_confidence, {sent}
from rows r
left join profiles p on p.symbol = r.symbol and p.expiration = r.expiration and p.source = r.source and p.slot = r.slot
  and p.slot >= %(first)s and p.slot < %(last)s
where r.symbol = %(symbol)s and r.expiration = %(expiration)s and r.source = {feed}
  and r.slot >= %(first)s and r.slot < %(last)s and r.slot = coalesce(
    (select max(slot) from rows
     where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed} and slot < %(before)s
       and slot >= %(first)s and slot < %(last)s),
    (select min(slot) from rows where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
       and slot >= %(first)s and slot < %(last)s))

-- pressure --
-- What a session's samples say of pressure, in order.
select slot, hedge_flow_cumulative_all, hedge_flow_se, classified_share, total_volume,
       (detail->>'multi_leg_share')::float8 as multi_leg_share
from rows
where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and slot >= %(first)s and slot < %(until)s
order by slot

-- earlier_sessions --
-- The newest sessions of a symbol and feed before a day, with their newest revision.
select expiration, revision from sessions
where symbol = %(symbol)s and source = %(source)s and has_rows and expiration < %(before)s
order by expiration desc limit %(count)s

-- stored_heads --
-- The newest sessions of a symbol up to a day, newest first, with their feed, extent and revision.
select expiration, source, first_slot, last_slot, revision from sessions
where symbol = %(symbol)s and has_rows and expiration <= %(until)s
  and case when %(feed)s::text is null then shown else source = %(feed)s end
order by expiration desc limit %(count)s

-- courses --
-- Some figures of every sample of some sessions, an array a figure and session; NaN for null.
select s.expiration, array_send(array_agg(extract(epoch from r.slot)::float8 order by r.slot)) as slot,
       array_send(array_agg(r.spot order by r.slot)) as spot,
       array_send(array_agg(r.net_gex order by r.slot)) as net_gex,
       array_send(array_agg(r.hedge_flow_cumulative_all::float8 order by r.slot)) as hedge_flow,
       array_send(array_agg(coalesce(r.atm_iv, 'NaN') order by r.slot)) as atm_iv,
       array_send(array_agg(coalesce(r.remaining_1sd, 'NaN') order by r.slot)) as remaining_1sd
from unnest(%(days)s::date[], %(sources)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
    as s (expiration, source, first_slot, last_slot)
join rows r on r.symbol = %(symbol)s and r.expiration = s.expiration and r.source = s.source
    and r.slot between s.first_slot and s.last_slot
    and r.slot between %(since)s and %(until)s
group by s.expiration

-- projection --
-- The newest row of a session that has a projection, of quotes up to a moment.
select {columns}, detail->'projection' as projection from rows
where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
  and slot >= %(first)s and slot < %(last)s
  and (%(moment)s::timestamptz is null or quoted_at <= %(moment)s)
  and jsonb_typeof(detail->'projection') = 'object'
order by slot desc limit 1

-- figures_before --
-- The newest row before a moment.
select {columns} from rows
where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed} and slot < %(before)s
  and slot >= %(first)s and slot < %(last)s
order by slot desc limit 1

-- moment --
-- The newest row of a session that was quoted by a moment, with its profile.
select r.*, {sent}
from (select * from rows
      where symbol = %(symbol)s and expiration = %(expiration)s and source = {feed}
        and slot >= %(first)s and slot < %(last)s
        and (%(until)s::timestamptz is null or quoted_at <= %(until)s)
      order by slot desc limit 1) r
left join profiles p on p.symbol = r.symbol and p.expiration = r.expiration and p.source = r.source and p.slot = r.slot
  and p.slot >= %(first)s and p.slot < %(last)s

-- newest_day --
-- The newest day up to another that has a row of a symbol.
select max(expiration) from sessions
where symbol = %(symbol)s and expiration <= %(until)s and has_rows
  and (%(feed)s::text is null or source = %(feed)s)

-- board --
-- Each symbol's newest row up to a day, found by way of its session: the shown feed's, or the one's
-- that is asked for.
select r.*
from (select distinct on (symbol) symbol, expiration, source, first_slot, last_slot from sessions
      where has_rows and expiration <= %(until)s
        and case when %(feed)s::text is null then shown else source = %(feed)s end
      order by symbol, expiration desc) newest
cross join lateral (
    select {columns} from rows
    where rows.symbol = newest.symbol and rows.expiration = newest.expiration
      and rows.source = newest.source
      and rows.slot between newest.first_slot and newest.last_slot
    order by slot desc limit 1) r
order by newest.symbol

-- sessions --
-- Each stored day of a symbol: counts and the median time from row to row, which only need the key.
-- It is the shown feed's, or the one's that is asked for; each day is looked up within its extent.
select s.expiration, r.n as rows, r.first, r.last, r.step, coalesce(g.n, 0) as gaps, g.reasons,
       s.source as feed, case when r.n > 0 then s.source end as source,
       (select w.source from watched w
        where w.symbol = s.symbol and w.expiration = s.expiration and not w.fallback and w.source <> ''
        order by w.source <> s.source, w.source limit 1) as first_feed,
       (select array_agg(o.source order by o.source) from sessions o
        where o.symbol = s.symbol and o.expiration = s.expiration and o.has_rows) as feeds
from sessions s
cross join lateral (
    select count(*) as n, min(slot) as first, max(slot) as last,
           percentile_disc(0.5) within group (order by step) as step
    from (select slot, slot - lag(slot) over (order by slot) as step
          -- Sorted after the scan: TimescaleDB looks into every chunk for each day of a sorted one.
          from (select slot from rows
                where rows.symbol = s.symbol and rows.expiration = s.expiration and rows.source = s.source
                  and rows.slot between s.first_slot and s.last_slot offset 0) slots) of_day) r
cross join lateral (
    select sum(n)::bigint as n, jsonb_object_agg(reason, n) as reasons
    from (select reason, count(*) as n from gaps
          where gaps.symbol = s.symbol and gaps.expiration = s.expiration and gaps.source = s.source
            and gaps.slot between s.first_slot and s.last_slot
          group by reason) by_reason) g
where s.symbol = %(symbol)s and (r.n > 0 or g.n > 0)
  and case when %(feed)s::text is null then s.shown else s.source = %(feed)s end
order by s.expiration

-- session_heads --
-- The shown feed of each symbol's session on a day, and the newest revision of that session.
select symbol, source, revision from sessions
where expiration = %(expiration)s and has_rows and shown order by symbol

-- samples --
-- Rows of a session after a slot, in order, with arrays of their profiles.
select {columns}, r.slot, {sent}
from rows r left join profiles p using (symbol, expiration, source, slot)
where r.symbol = %(symbol)s and r.expiration = %(expiration)s and r.source = %(source)s
  and r.slot > %(after)s and r.slot < %(last)s
order by r.slot

-- flow_history --
-- Hedge flow of the newest sessions of a symbol and feed before a day, by the same definitions, an
-- array a session.
select r.expiration,
       array_send(array_agg(extract(epoch from r.slot)::float8 order by r.slot)) as slots,
       array_send(array_agg(r.hedge_flow_cumulative_all::float8 order by r.slot)) as flow
from (select expiration, first_slot, last_slot from sessions
      where symbol = %(symbol)s and source = %(source)s and has_rows and expiration < %(before)s
      order by expiration desc limit %(count)s) s
join rows r on r.symbol = %(symbol)s and r.expiration = s.expiration and r.source = %(source)s
    and r.slot between s.first_slot and s.last_slot
where r.definitions = %(definitions)s and not r.flags && %(without)s::text[]
group by r.expiration
