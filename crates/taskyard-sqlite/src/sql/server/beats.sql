select s.id, s.beat, s.lease_until <= ?1, s.dead_at is not null, s.lease_us
from ty_server s
where s.dead_at is null or exists (select 1 from ty_claim c where c.server_id = s.id)
order by s.started_at, s.id
