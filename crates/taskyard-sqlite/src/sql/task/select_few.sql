-- The tasks are known to be few: their order numbers are a JSON array.
select t.id
from json_each(?9) few
cross join ty_task t on t.order_number = few.value
where
    (?1 >> t.state) & 1
    and (?2 is null or t.queue = ?2)
    and (?3 is null or t.kind = ?3)
    and (?4 is null or case when json_valid(t.tags) then exists (select 1 from json_each(t.tags) where value = ?4) end)
    and (?5 is null or t.finished_at < ?5)
    and (?10 is null or t.finished_at >= ?10)
    and (?11 is null or t.error_type = ?11)
    and (?12 is null or instr(t.error_message, ?12) > 0)
    and t.id < coalesce(?6, x'ffffffffffffffffffffffffffffffffff')
    and t.id > coalesce(?7, x'')
order by t.id
limit ?8
