-- The views for analysts under the names that docs/storage.md gives them: in the schema ``flow``, and those
-- of simulated sessions in ``flow_synthetic``. Bars have two more columns, at the end. Without a condition
-- on a bucket the 30-second bars are the rows, so that a condition on the time reads few of them.
create or replace view bars_30s as
select r.symbol, r.expiration as session, r.source as feed, s.shown,
    r.slot as t, r.slot as sampled_at,
    r.spot, r.atm_iv, r.remaining_1sd,
    r.net_gex, r.net_gex_se, r.net_dex, r.gamma_flip, r.gamma_flip_status, r.regime,
    r.call_wall, r.put_wall, r.magnet, r.max_pain, r.pin_score, r.pin_probability_pct,
    r.charm_dollars_per_hour,
    r.hedge_flow_call_cumulative, r.hedge_flow_put_cumulative, r.hedge_flow_cumulative_all,
    r.call_volume, r.put_volume, r.classified_share, r.flags, r.delay_seconds, r.definitions,
    r.net_gex_volume, r.quote_age_seconds
from rows r join sessions s using (symbol, expiration, source);

do $$
declare
    bars record;
    view text;
    interface text := case current_schema() when 'live' then 'flow' else 'flow_' || current_schema() end;
begin
    for bars in
        select * from (values ('bars_1m', '1 minute'), ('bars_5m', '5 minutes'), ('bars_15m', '15 minutes')) v (name, width)
    loop
        execute format($view$
            create or replace view %I as
            select * from (
                select distinct on (r.symbol, r.expiration, r.source, t)
                    r.symbol, r.expiration as session, r.source as feed, s.shown,
                    date_bin(%L, r.slot, '2000-01-01 00:00:00+00') as t, r.slot as sampled_at,
                    r.spot, r.atm_iv, r.remaining_1sd,
                    r.net_gex, r.net_gex_se, r.net_dex, r.gamma_flip, r.gamma_flip_status, r.regime,
                    r.call_wall, r.put_wall, r.magnet, r.max_pain, r.pin_score, r.pin_probability_pct,
                    r.charm_dollars_per_hour,
                    r.hedge_flow_call_cumulative, r.hedge_flow_put_cumulative, r.hedge_flow_cumulative_all,
                    r.call_volume, r.put_volume, r.classified_share, r.flags, r.delay_seconds, r.definitions,
                    r.net_gex_volume, r.quote_age_seconds
                from rows r join sessions s using (symbol, expiration, source)
                order by r.symbol, r.expiration, r.source, t, r.slot desc
            ) last_of_bucket
        $view$, bars.name, bars.width);
    end loop;

    -- Whoever may not make schemas goes without: ``flow-store grants`` makes them as well.
    if to_regnamespace(interface) is null then
        if not has_database_privilege(current_database(), 'create') then return; end if;
        execute format('create schema %I', interface);
    end if;
    if not has_schema_privilege(interface, 'create') then return; end if;
    foreach view in array array[
        'interface', 'bars_30s', 'bars_1m', 'bars_5m', 'bars_15m', 'strikes', 'missing_slots', 'stored_sessions'
    ] loop
        execute format('create or replace view %I.%I as select * from %I.%I', interface, view, current_schema(), view);
    end loop;
end $$;
