select lane, rank, order_number, queue, ages_at
from ty_ready
where ages_at <= ?1
order by ages_at
limit ?2
