select case ?3 when 0 then build_0 else build_1 end
from ty_server where id = ?1 and dead_at is null and lease_until > ?2
