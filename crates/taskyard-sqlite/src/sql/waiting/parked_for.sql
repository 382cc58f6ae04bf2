select order_number
from ty_waiting
where reason = 3 and runtime = ?1 and parked = ?2
limit ?3
