-- insert --
-- Write an event once. No row comes back if it is there, or if an event of its topic is within the
-- quiet time.
insert into alerts (id, category, kind, symbols, topic, session, slot, sentence, figures, began_at,
                    lasting, sent, node)
select %(id)s, %(category)s, %(kind)s, %(symbols)s, %(topic)s, %(session)s, %(slot)s, %(sentence)s,
       %(figures)s::jsonb, %(began)s, %(lasting)s, %(sent)s, %(node)s
where %(topic)s = '' or not exists (
    select from alerts a where a.topic = %(topic)s
      and a.slot > %(slot)s::timestamptz - %(quiet)s::interval
      and a.slot < %(slot)s::timestamptz + %(quiet)s::interval)
on conflict (id) do nothing
returning sequence

-- close --
-- Note that an event is over; the first one to say so counts.
update alerts set ended_at = %(ended)s, closed_at = clock_timestamp()
where id = %(id)s and lasting and closed_at is null
returning sequence

-- lasting --
-- Events that go on, and those that began within some time: what a new watcher has to know.
select *, extract(epoch from clock_timestamp() - created_at)::float8 as age from alerts
where category = 'operational' and lasting
  and (closed_at is null or created_at > clock_timestamp() - %(recent)s::interval)
order by sequence

-- next --
-- Take the oldest message that a target has not had. No row comes back while another process sends
-- it, or before it is due again. A message without a delivery counts only if it is recent: a target
-- that is new does not get what was long ago.
with first as (
    select m.id, m.state
    from (select id, 'began' as state, created_at as at, sequence from alerts
          where sent and created_at > clock_timestamp() - %(most)s::interval
          union all
          select id, 'ended', closed_at, sequence from alerts
          where sent and lasting and closed_at > clock_timestamp() - %(most)s::interval) m
    left join deliveries d on d.id = m.id and d.state = m.state and d.target = %(target)s
    where d.delivered_at is null and d.given_up_at is null
      and (d.id is not null or m.at > %(since)s)
    order by m.at, m.sequence limit 1),
taken as (
    insert into deliveries (id, state, target, attempts, next_attempt_at)
    select id, state, %(target)s, 1, clock_timestamp() + %(patience)s::interval from first
    on conflict (id, state, target) do update
    set attempts = deliveries.attempts + 1,
        next_attempt_at = clock_timestamp() + %(patience)s::interval
    where deliveries.delivered_at is null and deliveries.given_up_at is null
      and deliveries.next_attempt_at <= clock_timestamp()
    returning id, state, attempts)
select a.*, t.state, t.attempts from taken t join alerts a using (id)

-- settle --
-- Note what came of an attempt.
update deliveries
set delivered_at = case when %(failure)s = '' then clock_timestamp() end,
    failure = nullif(%(failure)s, ''),
    given_up_at = case when %(failure)s <> '' and attempts >= %(most_attempts)s then clock_timestamp() end,
    next_attempt_at = clock_timestamp() + %(pause)s::interval
where id = %(id)s and state = %(state)s and target = %(target)s
returning given_up_at

-- note_delivery --
-- Note a message that was sent while the database was away.
insert into deliveries (id, state, target, attempts, next_attempt_at, delivered_at)
values (%(id)s, %(state)s, %(target)s, %(attempts)s, clock_timestamp(), clock_timestamp())
on conflict (id, state, target) do update set delivered_at = coalesce(deliveries.delivered_at, excluded.delivered_at)
returning id

-- list --
-- Alerts, the newest first, each with its deliveries.
select a.*, (select coalesce(jsonb_agg(jsonb_build_object(
                 'target', d.target, 'state', d.state, 'attempts', d.attempts, 'failure', d.failure,
                 'delivered_at', extract(epoch from d.delivered_at),
                 'given_up_at', extract(epoch from d.given_up_at)) order by d.target, d.state), '[]')
             from deliveries d where d.id = a.id) as deliveries
from alerts a
where (%(symbol)s::text is null or %(symbol)s = any(a.symbols))
  and (%(day)s::date is null or a.session = %(day)s)
  and (%(kind)s::text is null or a.kind = %(kind)s or a.category = %(kind)s)
  and (%(before)s::bigint is null or a.sequence < %(before)s)
order by a.sequence desc limit %(limit)s

-- exists --
-- Whether an event is there.
select 1 as there from alerts where id = %(id)s

-- clock --
-- The server's time.
select clock_timestamp() as now
