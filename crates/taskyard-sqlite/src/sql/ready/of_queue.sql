select lane, rank, order_number
from ty_ready
where lane in (0, 1) and queue = ?1
limit ?2
