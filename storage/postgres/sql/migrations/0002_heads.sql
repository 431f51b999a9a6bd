-- Where each symbol and each of its sessions stands, so that nobody must look through years of rows.

-- The newest revision of a symbol: the cursor of whoever follows it.
create table heads (
    symbol text primary key,
    revision bigint not null
) with (fillfactor = 50);

-- A symbol's session: its feed (null while it has gaps alone), its extent, its newest revision.
create table sessions (
    symbol text not null,
    expiration date not null,
    source text,
    first_slot timestamptz not null,
    last_slot timestamptz not null,
    revision bigint not null,
    primary key (symbol, expiration)
) with (fillfactor = 50);

insert into sessions (symbol, expiration, source, first_slot, last_slot, revision)
select symbol, expiration, (array_agg(source order by slot) filter (where source is not null))[1],
       min(slot), max(slot), max(revision)
from (select symbol, expiration, slot, source, revision from rows
      union all
      select symbol, expiration, slot, null, revision from gaps) changes
group by symbol, expiration;

insert into heads (symbol, revision)
select symbol, max(revision) from sessions group by symbol;

-- Rows of a symbol in the order in which they were stored.
create index rows_by_revision on rows (symbol, revision);
