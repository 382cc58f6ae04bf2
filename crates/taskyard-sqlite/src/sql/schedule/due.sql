select name from ty_schedule
where planned and not paused and not ended and problem is null and next_at <= ?1
order by next_at limit ?2
