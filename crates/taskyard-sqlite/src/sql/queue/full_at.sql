select coalesce(rate_full_at, 0) from ty_queue where id = ?1
