-- One slot record is a row (headline figures), a profile (per strike) and the evidence (the chain),
-- all under the same key and written in one transaction.

-- Every stored change takes the next number: the cursor of whoever follows.
create sequence revision;

create table rows (
    symbol text not null,
    expiration date not null,
    slot timestamptz not null,
    quoted_at timestamptz not null,
    fetched_at timestamptz not null,
    source text not null,
    delay_seconds integer not null,
    definitions text not null,
    oi_confidence double precision not null,
    spot double precision not null,
    source_spot double precision,
    forward double precision not null,
    years_to_expiry double precision not null,
    net_gex double precision not null,
    call_gex double precision not null,
    put_gex double precision not null,
    gross_gex double precision not null,
    net_dex double precision not null,
    call_dex double precision not null,
    put_dex double precision not null,
    net_vex double precision not null,
    net_chex double precision not null,
    dealer_delta double precision not null,
    charm_dollars_per_hour double precision,
    net_gex_volume double precision not null,
    gamma_flip double precision,
    gamma_flip_status text not null,
    regime text not null,
    call_wall double precision,
    put_wall double precision,
    magnet double precision,
    magnet_gex double precision,
    max_pain double precision,
    pin_score integer not null,
    pin_oi double precision not null,
    pin_proximity double precision not null,
    pin_time double precision not null,
    pin_gamma double precision not null,
    pin_probability_pct double precision,
    atm_iv double precision,
    remaining_1sd double precision,
    settled_net_gex double precision not null,
    settled_net_dex double precision not null,
    settled_gamma_flip double precision,
    hedge_flow_call_cumulative double precision not null,
    hedge_flow_put_cumulative double precision not null,
    hedge_flow_cumulative_all double precision not null,
    hedge_flow_se double precision not null,
    classified_share double precision,
    flow_since timestamptz not null,
    differenced_from timestamptz,
    contracts integer not null,
    strikes integer not null,
    strikes_with_iv integer not null,
    total_oi bigint not null,
    call_oi bigint not null,
    put_oi bigint not null,
    total_volume bigint not null,
    call_volume bigint not null,
    put_volume bigint not null,
    dropped jsonb not null,
    quotes_unused jsonb not null,
    flags text[] not null,
    quote_age_seconds double precision not null,
    revision bigint not null default nextval('revision'),
    primary key (symbol, expiration, slot)
);

-- Arrays rather than a row a strike: a slot is read and written whole.
create table profiles (
    symbol text not null,
    expiration date not null,
    slot timestamptz not null,
    strike double precision[] not null,
    iv double precision[] not null,
    call_gex double precision[] not null,
    put_gex double precision[] not null,
    settled_call_gex double precision[] not null,
    settled_put_gex double precision[] not null,
    call_dex double precision[] not null,
    put_dex double precision[] not null,
    vex double precision[] not null,
    chex double precision[] not null,
    call_oi double precision[] not null,
    put_oi double precision[] not null,
    call_volume double precision[] not null,
    put_volume double precision[] not null,
    call_signed double precision[] not null,
    put_signed double precision[] not null,
    call_flow double precision[] not null,
    put_flow double precision[] not null,
    gamma_flow double precision[] not null,
    primary key (symbol, expiration, slot)
);

create table chains (
    symbol text not null,
    expiration date not null,
    slot timestamptz not null,
    evidence bytea not null,
    primary key (symbol, expiration, slot)
);
-- Already compressed by us.
alter table chains alter column evidence set storage external;

-- A slot without a row, and why. A row that lands later takes its gap away.
create table gaps (
    symbol text not null,
    expiration date not null,
    slot timestamptz not null,
    reason text not null,
    detail text not null default '',
    revision bigint not null default nextval('revision'),
    primary key (symbol, expiration, slot)
);
