select count(*)
from ty_task t
where
    (?1 >> t.state) & 1
    and (?2 is null or t.queue = ?2)
    and (?3 is null or t.kind = ?3)
    and (?4 is null or case when json_valid(t.tags) then exists (select 1 from json_each(t.tags) where value = ?4) end)
    and (?5 is null or t.finished_at < ?5)
    and (?6 is null or t.finished_at >= ?6)
    and (?7 is null or t.error_type = ?7)
    and (?8 is null or instr(t.error_message, ?8) > 0)
