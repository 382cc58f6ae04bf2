update ty_queue set rate_full_at = ?2 where id = ?1
