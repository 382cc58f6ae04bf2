update ty_ready set ages_at = ?2
where (lane, rank, order_number) in (
    select lane, rank, order_number from ty_ready where ages_at > ?2 and queue = ?1 limit ?3
)
