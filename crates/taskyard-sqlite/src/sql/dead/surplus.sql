-- The dead letters beyond ?2, those that died first, but for those that died after ?1.
select order_number
from ty_dead
where at <= ?1
order by at, order_number
limit min(20000, max(0, (select count(*) from ty_dead) - ?2))
