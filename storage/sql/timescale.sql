-- hypertables --
-- What TimescaleDB adds: chunks of a day, so that old sessions never slow today's.
select create_hypertable(%(table)s::regclass, 'slot', chunk_time_interval => interval '1 day',
                         if_not_exists => true, migrate_data => true);
