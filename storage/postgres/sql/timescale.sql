-- reach --
-- Put the extension's schema on the search path, wherever it is installed.
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

-- hypertable_state --
-- Whether a table is a hypertable, and how it is compressed.
select h.compression_enabled as compressed,
       (select j.config ->> 'compress_after' from timescaledb_information.jobs j
        where j.hypertable_schema = h.hypertable_schema and j.hypertable_name = h.hypertable_name
          and j.proc_name = 'policy_compression') as after
from timescaledb_information.hypertables h
where h.hypertable_schema = %(dataset)s and h.hypertable_name = %(name)s

-- hypertable --
-- Make a hypertable with chunks of a day, so that old sessions never slow today's. There is no index
-- of the slot alone: all symbols of a tick share a slot, and a planner that used the index would read
-- all of them for each.
select create_hypertable(%(table)s::regclass, 'slot', chunk_time_interval => interval '1 day',
                         if_not_exists => true, migrate_data => true,
                         create_default_indexes => false)

-- default_index --
-- Drop the index of the slot alone, which an earlier release had the extension make.
drop index if exists {index}

-- columnstore --
-- Let a table be compressed by column.
alter table {table} set (timescaledb.enable_columnstore = true, timescaledb.segmentby = 'symbol, source',
                         timescaledb.orderby = 'expiration, slot')

-- forget_policy --
call remove_columnstore_policy({table}, if_exists => true)

-- policy --
call add_columnstore_policy({table}, after => {after}, if_not_exists => true)

-- drop_chunks --
-- Drop whole days before a moment.
select count(*) as n from drop_chunks(%(table)s::regclass, older_than => %(before)s::timestamptz)

-- size --
select hypertable_size(%(table)s::regclass) as bytes
