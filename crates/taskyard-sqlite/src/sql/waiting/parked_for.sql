select w.order_number
from ty_waiting w left join ty_task t on t.order_number = w.order_number
where w.reason = 3 and w.runtime = ?1 and w.parked = ?2
  and (t.unique_hold is null or not exists (
    select 1 from ty_unique_key k where k.key = t.unique_key and k.task <> t.id and (k.until is null or k.until > ?4)))
limit ?3
