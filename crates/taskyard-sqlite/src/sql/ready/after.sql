select lane, rank, order_number, queue, ages_at
from ty_ready
where (lane, rank, order_number) > (?1, ?2, ?3)
order by lane, rank, order_number
limit ?4
