delete from ty_schedule_run
where schedule = ?1 and not open and sequence <= (
    select o.sequence from ty_schedule_run o where o.schedule = ?1 order by o.sequence desc limit 1 offset ?2)
