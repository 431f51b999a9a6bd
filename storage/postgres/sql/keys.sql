-- insert --
-- Add a key. No row comes back if the name is taken.
insert into keys (id, digest, name, email, plan, expires_at, rights)
values (%(id)s, %(digest)s, %(name)s, %(email)s, %(plan)s, %(expires_at)s, %(rights)s)
on conflict (name) where revoked_at is null do nothing
returning *

-- all --
-- Every key, also revoked ones, the oldest first.
select * from keys order by created_at, id

-- revoke --
-- Revoke the key with this id or name.
update keys set revoked_at = now()
where (id = %(which)s or name = %(which)s) and revoked_at is null
returning *

-- rotate --
-- Replace a key's secret. Name, plan and count stay.
update keys set digest = %(digest)s, issued_at = now()
where id = %(id)s and revoked_at is null
returning *

-- set_rights --
-- Set what the key with this id or name may do beside its plan.
update keys set rights = %(rights)s
where (id = %(which)s or name = %(which)s) and revoked_at is null
returning *

-- touch --
-- Note when keys were last used. Several servers may do so, in any order.
update keys set last_used_at = greatest(last_used_at, used.at)
from unnest(%(ids)s::text[], %(moments)s::timestamptz[]) as used (id, at)
where keys.id = used.id
returning keys.id
