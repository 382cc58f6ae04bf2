select 1 from ty_server where id = ?1 and dead_at is null and lease_until > ?2
