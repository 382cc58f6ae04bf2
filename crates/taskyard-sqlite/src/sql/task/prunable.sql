select order_number, state, finished_at
from ty_task
where order_number > ?1
order by order_number
limit ?2
