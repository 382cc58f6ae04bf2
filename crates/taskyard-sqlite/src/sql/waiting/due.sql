select order_number
from ty_waiting
where reason in (1, 2) and run_at <= ?1
order by run_at
limit ?2
