select 1
from ty_edge e
join ty_task t on t.order_number = e.child
where e.parent = ?1 and t.state not between 3 and 6
limit 1
