update ty_ready set ages_at = ?2 where ages_at > ?2 and queue = ?1
