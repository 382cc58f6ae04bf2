update ty_ready set ages_at = min(coalesce(ages_at, ?5), ?5) where lane = ?1 and rank = ?2 and order_number = ?3 and queue = ?4
