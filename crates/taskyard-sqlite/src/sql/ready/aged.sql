select lane, rank, ages_at from ty_ready where order_number = ?1 and ages_at is not null
