-- insert --
-- A new key; nothing comes back if the name is taken.
insert into keys (id, digest, name, email, plan, expires_at)
values (%(id)s, %(digest)s, %(name)s, %(email)s, %(plan)s, %(expires_at)s)
on conflict (name) where revoked_at is null do nothing
returning *

-- all --
-- Every key there ever was, the oldest first.
select * from keys order by created_at, id

-- revoke --
update keys set revoked_at = now()
where (id = %(which)s or name = %(which)s) and revoked_at is null
returning *

-- rotate --
-- The same key with another secret: name, plan and count stay.
update keys set digest = %(digest)s, issued_at = now()
where id = %(id)s and revoked_at is null
returning *

-- touch --
-- When keys were last used; several servers may tell, in any order.
update keys set last_used_at = greatest(last_used_at, used.at)
from unnest(%(ids)s::text[], %(moments)s::timestamptz[]) as used (id, at)
where keys.id = used.id
returning keys.id
