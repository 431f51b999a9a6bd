-- reach --
-- The extension's functions may be in any schema.
select set_config('search_path', current_setting('search_path') || ', ' || extnamespace::regnamespace,
                  false)
from pg_extension where extname = 'timescaledb'

-- hypertables --
-- What TimescaleDB adds: chunks of a day, so that old sessions never slow today's.
select create_hypertable(%(table)s::regclass, 'slot', chunk_time_interval => interval '1 day',
                         if_not_exists => true, migrate_data => true);
