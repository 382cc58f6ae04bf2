select lane, rank, order_number, queue, ages_at
from ty_ready
where lane >= ?1 and lane < ?2
order by lane, rank, order_number
limit ?3
