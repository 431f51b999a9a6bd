-- The record of forecasts: what the rows of set times say, fixed before the outcome is known, the
-- closes that they are judged by, and how each came out.

-- A forecast as it was frozen. content is the exact text that digest is the SHA-256 of; null where
-- nothing could be frozen, and missed says why.
create table forecasts (
    symbol text not null,
    expiration date not null,
    source text not null,
    freeze_time timestamptz not null,
    slot timestamptz,
    definitions text,
    content text,
    digest text,
    missed text,
    -- The market's clock of the sampler: when the content was fixed, and when it was written.
    frozen_at timestamptz not null,
    written_at timestamptz not null,
    -- The database's own clock.
    stored_at timestamptz not null default clock_timestamp(),
    primary key (symbol, expiration, source, freeze_time),
    check ((content is null) = (missed is not null)),
    check (digest = encode(sha256(convert_to(content, 'UTF8')), 'hex')),
    check ((digest is null) = (content is null))
);

-- Closes, each with where it comes from and when. A correction is a further line: the last counts.
create table settlements (
    sequence bigint generated always as identity primary key,
    symbol text not null,
    expiration date not null,
    price double precision not null check (price > 0 and price < 'Infinity'),
    origin text not null,
    -- Which feed or person it comes from.
    detail text not null default '',
    quoted_at timestamptz not null,
    stored_at timestamptz not null default clock_timestamp()
);
create index settlements_session on settlements (symbol, expiration, sequence);

-- What is written of both stays.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'table % only grows: no line is changed or deleted', tg_table_name
        using errcode = 'restrict_violation';
end $$;
create trigger forecasts_stay before update or delete on forecasts
    for each row execute function refuse_change();
create trigger forecasts_not_emptied before truncate on forecasts
    for each statement execute function refuse_change();
create trigger settlements_stay before update or delete on settlements
    for each row execute function refuse_change();
create trigger settlements_not_emptied before truncate on settlements
    for each statement execute function refuse_change();

-- The database's time is not the client's to choose.
create function stamp_stored() returns trigger language plpgsql as $$
begin
    new.stored_at = clock_timestamp();
    return new;
end $$;
create trigger forecasts_stamp before insert on forecasts
    for each row execute function stamp_stored();
create trigger settlements_stamp before insert on settlements
    for each row execute function stamp_stored();

-- How a forecast came out. kind: frozen, backfilled (made afterwards from stored rows) or recorded
-- (a recorded frame at its own time). A line follows from forecast, close and rows, and is written
-- anew when the close is corrected; it stays when the rows are deleted.
create table scores (
    symbol text not null,
    expiration date not null,
    source text not null,
    kind text not null check (kind in ('frozen', 'backfilled', 'recorded')),
    freeze_time timestamptz not null,
    definitions text not null,
    content text not null,
    digest text not null,
    settlement bigint not null references settlements (sequence),
    outcome jsonb not null,
    method integer not null,
    scored_at timestamptz not null default clock_timestamp(),
    primary key (symbol, expiration, source, kind, freeze_time)
);
