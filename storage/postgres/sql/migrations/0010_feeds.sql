-- A feed's rows of a day are a session of their own: the feed (rows.source) joins every key.

-- A table with compressed chunks takes no new primary key. Its chunks are decompressed here; where
-- the migration is given days to compress after, the policy that it sets compresses them again.
do $$
declare
    name text;
    chunk regclass;
begin
    if not exists (select from pg_extension where extname = 'timescaledb') then
        return;
    end if;
    perform set_config('search_path', current_setting('search_path') || ', ' || extnamespace::regnamespace, true)
    from pg_extension where extname = 'timescaledb';
    for name in
        select hypertable_name from timescaledb_information.hypertables
        where hypertable_schema = current_schema() and compression_enabled
          and hypertable_name in ('rows', 'profiles', 'chains', 'gaps')
    loop
        for chunk in
            select format('%I.%I', chunk_schema, chunk_name)::regclass from timescaledb_information.chunks
            where hypertable_schema = current_schema() and hypertable_name = name and is_compressed
        loop
            perform decompress_chunk(chunk);
        end loop;
        execute format('call remove_columnstore_policy(%L, if_exists => true)', format('%I.%I', current_schema(), name));
        execute format('alter table %I set (timescaledb.enable_columnstore = false)', name);
    end loop;
end $$;

-- The tables get the most frequent feed as the new column's default, which writes no row; only the
-- rows of other feeds are updated.
do $$
declare
    usual text := (select source from sessions where source is not null
                   group by source order by count(*) desc, source limit 1);
begin
    execute format('alter table profiles add column source text not null default %L', coalesce(usual, ''));
    execute format('alter table chains add column source text not null default %L', coalesce(usual, ''));
    create temp table unlike on commit drop as
    select r.symbol, r.expiration, r.slot, r.source, r.revision, s.source as of_session
    from rows r join sessions s using (symbol, expiration)
    where r.source <> usual or r.source <> s.source;
end $$;
alter table profiles alter column source drop default;
alter table chains alter column source drop default;
update profiles p set source = u.source from unlike u
where (p.symbol, p.expiration, p.slot) = (u.symbol, u.expiration, u.slot) and p.source <> u.source;
update chains c set source = u.source from unlike u
where (c.symbol, c.expiration, c.slot) = (u.symbol, u.expiration, u.slot) and c.source <> u.source;

-- A gap is of its session's feed. The feed of a session without any row is not known: it is ''.
alter table gaps add column source text not null default '';
alter table gaps alter column source drop default;
update gaps g set source = s.source from sessions s
where (s.symbol, s.expiration) = (g.symbol, g.expiration) and s.source is not null;

alter table rows drop constraint rows_pkey, add primary key (symbol, expiration, source, slot);
alter table profiles drop constraint profiles_pkey, add primary key (symbol, expiration, source, slot);
alter table chains drop constraint chains_pkey, add primary key (symbol, expiration, source, slot);
alter table gaps drop constraint gaps_pkey, add primary key (symbol, expiration, source, slot);

-- Whether the feed has a row in the session (else it has gaps alone), and whether answers show it
-- unless they are asked for another: one feed of each session.
alter table sessions
    add column has_rows boolean not null default false,
    add column shown boolean not null default true;
update sessions set has_rows = source is not null, source = coalesce(source, '');
alter table sessions
    alter column source set not null,
    alter column has_rows drop default,
    alter column shown drop default,
    drop constraint sessions_pkey,
    add primary key (symbol, expiration, source);
-- Sessions in which an earlier release mixed feeds.
insert into sessions (symbol, expiration, source, first_slot, last_slot, revision, has_rows, shown)
select symbol, expiration, source, min(slot), max(slot), max(revision), true, false
from unlike where source <> of_session group by symbol, expiration, source;

-- The feed that a sampler was responsible for, and whether it stood in for another.
alter table watched
    add column source text not null default '',
    add column fallback boolean not null default false;
update watched w set source = s.source from sessions s
where (s.symbol, s.expiration) = (w.symbol, w.expiration) and s.shown;
alter table watched
    alter column source drop default,
    alter column fallback drop default,
    drop constraint watched_pkey,
    add primary key (symbol, expiration, source);
