with named (queue) as (
    select name from ty_queue
    union
    select queue from ty_queue_count where state between 0 and 2 and tasks > 0
)
select n.queue, coalesce(q.paused, 0), q.running_max,
    coalesce((select tasks from ty_queue_count c where c.queue = n.queue and state = 0), 0),
    coalesce((select tasks from ty_queue_count c where c.queue = n.queue and state = 1), 0),
    coalesce((select tasks from ty_queue_count c where c.queue = n.queue and state = 2), 0),
    q.ageing_us, q.rate_count, q.rate_us
from named n
left join ty_queue q on q.name = n.queue
order by n.queue
