-- Sessions that a daemon sampled: each of their slots is a row or a gap with a reason. A session that
-- is not here holds whatever rows it was given, and owes nothing.
create table watched (
    symbol text not null,
    expiration date not null,
    since timestamptz not null default now(),
    primary key (symbol, expiration)
);
