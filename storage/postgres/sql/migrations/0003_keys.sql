-- The API's keys. A key itself is never stored: only its SHA-256, under the part that may be shown.
create table keys (
    id text primary key,
    digest bytea not null,
    name text not null,
    email text not null default '',
    plan text not null,
    created_at timestamptz not null default now(),
    issued_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
-- A name says which key is meant; one that was revoked gives its name back.
create unique index keys_name on keys (name) where revoked_at is null;
