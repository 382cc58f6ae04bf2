-- The done tasks beyond ?2, those that were added first, but for those that ended after ?1.
select order_number
from (
    select order_number, finished_at
    from ty_task
    where state = 4
    order by order_number
    limit max(0, (select coalesce(sum(tasks), 0) from ty_queue_count where state = 4) - ?2)
)
where finished_at <= ?1
order by order_number
limit 20000
