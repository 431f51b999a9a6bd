-- insert --
-- Freeze a forecast. No row comes back if its time has one: the first one stays.
insert into forecasts (symbol, expiration, source, freeze_time, slot, definitions, content, digest,
                       missed, frozen_at, written_at)
values (%(symbol)s, %(expiration)s, %(source)s, %(freeze_time)s, %(slot)s, %(definitions)s, %(content)s,
        %(digest)s, %(missed)s, %(frozen_at)s, %(written_at)s)
on conflict (symbol, expiration, source, freeze_time) do nothing
returning freeze_time

-- frozen --
-- The forecasts of a symbol's sessions, in order.
select * from forecasts
where symbol = %(symbol)s and expiration between %(first)s and %(last)s
order by expiration, source, freeze_time

-- settle --
-- Note a close. Without a correction no row comes back where the session has one.
insert into settlements (symbol, expiration, price, origin, detail, quoted_at)
select %(symbol)s, %(expiration)s, %(price)s, %(origin)s, %(detail)s, %(quoted_at)s
where %(correct)s or not exists (
    select from settlements where symbol = %(symbol)s and expiration = %(expiration)s)
returning sequence

-- settlements --
-- The close that counts of each of a symbol's sessions: the last one that was noted.
select distinct on (expiration) * from settlements
where symbol = %(symbol)s and expiration between %(first)s and %(last)s
order by expiration, sequence desc

-- settlement_lines --
-- Every close that was noted of each of a symbol's sessions, corrected ones too, in order.
select * from settlements
where symbol = %(symbol)s and expiration between %(first)s and %(last)s
order by expiration, sequence

-- score --
-- Note how forecasts came out; what is there of a feed's session and kind is written anew.
insert into scores (symbol, expiration, source, kind, freeze_time, definitions, content, digest,
                    settlement, outcome, method)
select * from unnest(%(symbols)s::text[], %(expirations)s::date[], %(sources)s::text[],
                     %(kinds)s::text[], %(freeze_times)s::timestamptz[], %(definitions)s::text[],
                     %(contents)s::text[], %(digests)s::text[], %(settlements)s::bigint[],
                     %(outcomes)s::jsonb[], %(methods)s::integer[])
on conflict (symbol, expiration, source, kind, freeze_time) do update
set definitions = excluded.definitions, content = excluded.content, digest = excluded.digest,
    settlement = excluded.settlement, outcome = excluded.outcome, method = excluded.method,
    scored_at = clock_timestamp()
where (scores.digest, scores.settlement, scores.outcome, scores.method)
      is distinct from (excluded.digest, excluded.settlement, excluded.outcome, excluded.method)
returning freeze_time

-- scores --
-- How a symbol's forecasts came out, in order, each with the close that it was judged by.
select s.*, t.price, t.origin, t.detail, t.quoted_at
from scores s join settlements t on t.sequence = s.settlement
where s.symbol = %(symbol)s and s.expiration between %(first)s and %(last)s
order by s.expiration, s.source, s.kind, s.freeze_time
