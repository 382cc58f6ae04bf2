select t.id, t.state, case t.state when 4 then t.result end, t.error_type, t.error_message, t.error_traceback, e.open,
    t.runtime = 1 and t.plain & 2 = 0
from ty_edge e
join ty_task t on t.order_number = e.parent
where e.child = ?1
order by e.place
