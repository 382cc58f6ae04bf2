-- The tasks are known to be few: their order numbers are a JSON array.
select t.order_number, t.id, t.kind, t.runtime, t.name, t.queue, t.priority, t.state, t.attempt, t.failures, t.lost,
    t.crashes, t.alone, t.cancel_requested, t.stop_requested, t.payload, t.result, t.error_type, t.error_message,
    t.error_traceback, t.on_parent_failure, t.fallen_from, t.policy, t.timeout_ms, t.tags, t.auto_remove,
    t.at_most_once, t.unique_key, t.created_at, t.run_at, t.expires_at, t.started_at, t.finished_at, t.server_id,
    t.has_parents, case when t.state = 6 or t.cancel_requested then t.cancel_reason end, t.plain,
    t.has_context and coalesce((select x.plain from ty_task_context x where x.order_number = t.order_number), 0)
from json_each(?8) few
cross join ty_task t on t.order_number = few.value
where
    (?1 >> t.state) & 1
    and (?2 is null or t.queue = ?2)
    and (?3 is null or t.kind = ?3)
    and (?4 is null or case when json_valid(t.tags) then exists (select 1 from json_each(t.tags) where value = ?4) end)
    and (?5 is null or t.finished_at < ?5)
    and (?9 is null or t.finished_at >= ?9)
    and (?10 is null or t.error_type = ?10)
    and (?11 is null or instr(t.error_message, ?11) > 0)
    and t.id < coalesce(?6, x'ffffffffffffffffffffffffffffffffff')
order by t.id desc
limit ?7
