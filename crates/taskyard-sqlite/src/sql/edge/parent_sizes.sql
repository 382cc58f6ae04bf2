select t.id, coalesce(case t.state when 4 then length(t.result) end, 4)
from ty_edge e
join ty_task t on t.order_number = e.parent
where e.child = ?1
