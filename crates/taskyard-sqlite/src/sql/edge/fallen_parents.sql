select t.state, t.id, t.fallen_from
from ty_edge e
join ty_task t on t.order_number = e.parent
where e.child = ?1 and e.open and t.state in (5, 6)
order by e.place
