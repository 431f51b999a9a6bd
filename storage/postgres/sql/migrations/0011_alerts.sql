-- The log of alerts: what happened, a row an event however many processes notice it, and what came
-- of telling each target. A target stands here by its scheme and host, never by its URL.
create table alerts (
    sequence bigint generated always as identity primary key,
    id text not null unique,
    category text not null check (category in ('operational', 'market')),
    kind text not null,
    symbols text[] not null,
    -- What a market event is about: events of one topic keep a quiet time between them.
    topic text not null default '',
    session date not null,
    slot timestamptz,
    sentence text not null,
    figures jsonb not null default '{}',
    began_at timestamptz not null,
    ended_at timestamptz,
    -- Whether an end is to come.
    lasting boolean not null,
    -- Whether it is sent, or was noticed too late for that.
    sent boolean not null default true,
    node text not null default '',
    -- By the server's clock: when the event was first written, and when its end was.
    created_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz
);
create index alerts_session on alerts (session, sequence);
create index alerts_open on alerts (kind) where lasting and closed_at is null;
create index alerts_topic on alerts (topic, slot) where topic <> '';
create index alerts_created on alerts (created_at);

create table deliveries (
    id text not null references alerts (id) on delete cascade,
    state text not null check (state in ('began', 'ended')),
    target text not null,
    attempts integer not null,
    -- No process tries before: another one is trying, or the last attempt has failed.
    next_attempt_at timestamptz not null,
    failure text,
    delivered_at timestamptz,
    given_up_at timestamptz,
    primary key (id, state, target)
);

-- What a key may do beside what its plan includes, such as changing the rules of alerts.
alter table keys add column rights text[] not null default '{}';
