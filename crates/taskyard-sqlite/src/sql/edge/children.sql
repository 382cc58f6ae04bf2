select t.id
from ty_edge e
join ty_task t on t.order_number = e.child
where e.parent = ?1
order by e.child
limit ?2
