select lane, rank, order_number
from ty_ready
where queue = ?1 and (lane, rank, order_number) > (?2, ?3, ?4)
order by lane, rank, order_number
limit ?5
