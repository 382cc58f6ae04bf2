select beat, lease_until, dead_at from ty_server where id = ?1
