select parked, count(*)
from ty_waiting
where reason = 3 and runtime = ?1
group by parked
order by parked
