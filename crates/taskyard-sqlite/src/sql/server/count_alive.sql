select count(*) from ty_server where dead_at is null and lease_until > ?1
