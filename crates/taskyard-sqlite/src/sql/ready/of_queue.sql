select lane, rank, order_number
from ty_ready
where lane in (?3, ?3 + 1) and queue = ?1
limit ?2
