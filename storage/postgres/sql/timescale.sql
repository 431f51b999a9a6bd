-- reach --
-- The extension's functions may be in any schema.
select set_config('search_path', current_setting('search_path') || ', ' || extnamespace::regnamespace,
                  false)
from pg_extension where extname = 'timescaledb'

-- offered --
-- Whether the server has the extension, and whether this database does.
select exists (select from pg_available_extensions where name = 'timescaledb') as offered,
       exists (select from pg_extension where extname = 'timescaledb') as installed

-- level --
-- The extension's version, and whether compression and policies come with it: the Apache license
-- level has neither. The setting is there once the extension has been loaded.
select extversion as version, current_setting('timescaledb.license', true) as license
from pg_extension where extname = 'timescaledb'

-- standing --
-- What has been made of a table.
select h.compression_enabled as compressed,
       (select j.config ->> 'compress_after' from timescaledb_information.jobs j
        where j.hypertable_schema = h.hypertable_schema and j.hypertable_name = h.hypertable_name
          and j.proc_name = 'policy_compression') as after
from timescaledb_information.hypertables h
where h.hypertable_schema = %(dataset)s and h.hypertable_name = %(name)s

-- hypertable --
-- Chunks of a day, so that old sessions never slow today's. No index of the slot alone: every
-- symbol of a tick has the same one, and a planner that takes it reads all of them for each.
select create_hypertable(%(table)s::regclass, 'slot', chunk_time_interval => interval '1 day',
                         if_not_exists => true, migrate_data => true,
                         create_default_indexes => false)

-- default_index --
-- An earlier release let the extension make it.
drop index if exists {index}

-- columnstore --
-- What lies behind the backfill's horizon is kept by column.
alter table {table} set (timescaledb.enable_columnstore = true, timescaledb.segmentby = 'symbol',
                         timescaledb.orderby = 'expiration, slot')

-- forget_policy --
call remove_columnstore_policy({table}, if_exists => true)

-- policy --
call add_columnstore_policy({table}, after => {after}, if_not_exists => true)

-- drop_chunks --
-- Whole days before a moment.
select count(*) as n from drop_chunks(%(table)s::regclass, older_than => %(before)s::timestamptz)

-- size --
select hypertable_size(%(table)s::regclass) as bytes
