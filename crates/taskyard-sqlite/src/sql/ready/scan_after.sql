select rank, order_number, queue
from ty_ready
where lane = ?1 and (rank, order_number) > (?2, ?3)
order by rank, order_number
