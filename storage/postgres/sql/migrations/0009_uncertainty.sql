-- How sure the sign of the live book is, how far away its flip is, and the time that charm looks
-- ahead. Rows of definitions 2 and earlier have null here.
alter table rows
    add column charm_horizon_seconds double precision,
    add column net_gex_se double precision,
    add column net_gex_se_measured double precision,
    add column distance_to_flip_sigmas double precision,
    add column flip_out_of_reach boolean,
    add column regime_confidence double precision;
