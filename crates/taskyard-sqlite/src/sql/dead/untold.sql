-- Dead letters for the hooks of server ?1, oldest first: of runtime ?2, of the queues in the JSON array ?3 (all if null), of
-- kinds in the namespace ?6 (all if null), that died after ?4, of which no hook was told, and that no other living server has
-- taken. Nothing if the server is dead.
select d.order_number, t.id
from ty_dead d
join ty_task t on t.order_number = d.order_number
where d.told = 0 and d.at > ?4 and t.runtime = ?2 and (?3 is null or t.queue in (select value from json_each(?3)))
    and (?6 is null or substr(t.kind, 1, length(?6) + 1) = ?6 || '/')
    and (d.teller is null or d.teller = ?1
        or not exists (select 1 from ty_server s where s.id = d.teller and s.dead_at is null))
    and exists (select 1 from ty_server s where s.id = ?1 and s.dead_at is null)
order by d.at
limit ?5
