select coalesce(sum(ends_held), 0) from ty_server where dead_at is null and lease_until > ?1
