-- Views for analysts: an interface with a version of its own, which docs/storage.md states. A column is
-- never renamed, removed or given another meaning within a version; new ones come at the end.

create view interface as select 1 as version;

-- A bar is the last sample of its bucket, as in the API.
create view bars_30s as
select * from (
    select distinct on (r.symbol, r.expiration, r.source, t)
        r.symbol, r.expiration as session, r.source as feed, s.shown,
        date_bin('30 seconds', r.slot, '2000-01-01 00:00:00+00') as t, r.slot as sampled_at,
        r.spot, r.atm_iv, r.remaining_1sd,
        r.net_gex, r.net_gex_se, r.net_dex, r.gamma_flip, r.gamma_flip_status, r.regime,
        r.call_wall, r.put_wall, r.magnet, r.max_pain, r.pin_score, r.pin_probability_pct,
        r.charm_dollars_per_hour,
        r.hedge_flow_call_cumulative, r.hedge_flow_put_cumulative, r.hedge_flow_cumulative_all,
        r.call_volume, r.put_volume, r.classified_share, r.flags, r.delay_seconds, r.definitions
    from rows r join sessions s using (symbol, expiration, source)
    order by r.symbol, r.expiration, r.source, t, r.slot desc
) last_of_bucket;

create view bars_1m as
select * from (
    select distinct on (r.symbol, r.expiration, r.source, t)
        r.symbol, r.expiration as session, r.source as feed, s.shown,
        date_bin('1 minute', r.slot, '2000-01-01 00:00:00+00') as t, r.slot as sampled_at,
        r.spot, r.atm_iv, r.remaining_1sd,
        r.net_gex, r.net_gex_se, r.net_dex, r.gamma_flip, r.gamma_flip_status, r.regime,
        r.call_wall, r.put_wall, r.magnet, r.max_pain, r.pin_score, r.pin_probability_pct,
        r.charm_dollars_per_hour,
        r.hedge_flow_call_cumulative, r.hedge_flow_put_cumulative, r.hedge_flow_cumulative_all,
        r.call_volume, r.put_volume, r.classified_share, r.flags, r.delay_seconds, r.definitions
    from rows r join sessions s using (symbol, expiration, source)
    order by r.symbol, r.expiration, r.source, t, r.slot desc
) last_of_bucket;

create view bars_5m as
select * from (
    select distinct on (r.symbol, r.expiration, r.source, t)
        r.symbol, r.expiration as session, r.source as feed, s.shown,
        date_bin('5 minutes', r.slot, '2000-01-01 00:00:00+00') as t, r.slot as sampled_at,
        r.spot, r.atm_iv, r.remaining_1sd,
        r.net_gex, r.net_gex_se, r.net_dex, r.gamma_flip, r.gamma_flip_status, r.regime,
        r.call_wall, r.put_wall, r.magnet, r.max_pain, r.pin_score, r.pin_probability_pct,
        r.charm_dollars_per_hour,
        r.hedge_flow_call_cumulative, r.hedge_flow_put_cumulative, r.hedge_flow_cumulative_all,
        r.call_volume, r.put_volume, r.classified_share, r.flags, r.delay_seconds, r.definitions
    from rows r join sessions s using (symbol, expiration, source)
    order by r.symbol, r.expiration, r.source, t, r.slot desc
) last_of_bucket;

create view bars_15m as
select * from (
    select distinct on (r.symbol, r.expiration, r.source, t)
        r.symbol, r.expiration as session, r.source as feed, s.shown,
        date_bin('15 minutes', r.slot, '2000-01-01 00:00:00+00') as t, r.slot as sampled_at,
        r.spot, r.atm_iv, r.remaining_1sd,
        r.net_gex, r.net_gex_se, r.net_dex, r.gamma_flip, r.gamma_flip_status, r.regime,
        r.call_wall, r.put_wall, r.magnet, r.max_pain, r.pin_score, r.pin_probability_pct,
        r.charm_dollars_per_hour,
        r.hedge_flow_call_cumulative, r.hedge_flow_put_cumulative, r.hedge_flow_cumulative_all,
        r.call_volume, r.put_volume, r.classified_share, r.flags, r.delay_seconds, r.definitions
    from rows r join sessions s using (symbol, expiration, source)
    order by r.symbol, r.expiration, r.source, t, r.slot desc
) last_of_bucket;

-- One line a strike and sample.
create view strikes as
select p.symbol, p.expiration as session, p.source as feed, s.shown, p.slot as sampled_at,
    u.strike, u.iv, u.call_gex, u.put_gex, u.call_gex + u.put_gex as net_gex, u.call_dex, u.put_dex,
    u.call_oi, u.put_oi, u.call_volume, u.put_volume, u.call_flow, u.put_flow
from profiles p join sessions s using (symbol, expiration, source)
cross join lateral unnest(
    p.strike, p.iv, p.call_gex, p.put_gex, p.call_dex, p.put_dex, p.call_oi, p.put_oi,
    p.call_volume, p.put_volume, p.call_flow, p.put_flow
) as u (
    strike, iv, call_gex, put_gex, call_dex, put_dex, call_oi, put_oi,
    call_volume, put_volume, call_flow, put_flow
);

-- Every slot that has no sample, and why.
create view missing_slots as
select g.symbol, g.expiration as session, g.source as feed, s.shown, g.slot, g.reason
from gaps g join sessions s using (symbol, expiration, source);

-- What is stored of each day.
create view stored_sessions as
select symbol, expiration as session, source as feed, shown, has_rows, first_slot, last_slot
from sessions;
