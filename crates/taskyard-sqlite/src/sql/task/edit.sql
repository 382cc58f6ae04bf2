update ty_task
set payload = coalesce(?2, payload), queue = coalesce(?3, queue), priority = coalesce(?4, priority), policy = ?5,
    plain = case when ?2 is null then plain else plain & ~1 | ?6 end
where order_number = ?1
