select rank, order_number, queue
from ty_ready
where lane = ?1
order by rank, order_number
