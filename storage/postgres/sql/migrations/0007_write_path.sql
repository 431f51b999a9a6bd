-- What the write path needs.

-- Whether a row was filled in afterwards: one that was sampled live takes its place.
alter table rows add column backfilled boolean not null default false;

-- Arrays of doubles hardly compress, and trying takes longer than writing them.
alter table profiles
    alter column strike set storage external,
    alter column iv set storage external,
    alter column own_iv set storage external,
    alter column call_delta set storage external,
    alter column gamma set storage external,
    alter column theta set storage external,
    alter column call_bid set storage external,
    alter column call_ask set storage external,
    alter column put_bid set storage external,
    alter column put_ask set storage external,
    alter column call_oi set storage external,
    alter column put_oi set storage external,
    alter column call_volume set storage external,
    alter column put_volume set storage external,
    alter column call_signed set storage external,
    alter column put_signed set storage external,
    alter column call_flow set storage external,
    alter column put_flow set storage external,
    alter column gamma_flow set storage external,
    alter column call_gex set storage external,
    alter column put_gex set storage external,
    alter column call_dex set storage external,
    alter column put_dex set storage external,
    alter column vex set storage external,
    alter column chex set storage external,
    alter column settled_call_gex set storage external,
    alter column settled_put_gex set storage external,
    alter column settled_call_dex set storage external,
    alter column settled_put_dex set storage external,
    alter column settled_vex set storage external,
    alter column settled_chex set storage external;
