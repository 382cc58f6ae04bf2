update ty_server set dead_at = ?2 where id = ?1 and dead_at is null
