select t.order_number, t.id, t.kind, t.runtime, t.name, t.queue, t.priority, t.state, t.attempt, t.failures, t.lost,
    t.crashes, t.alone, t.cancel_requested, t.stop_requested, t.payload, t.result, t.error_type, t.error_message,
    t.error_traceback, t.on_parent_failure, t.fallen_from, t.policy, t.timeout_ms, t.tags, t.auto_remove,
    t.at_most_once, t.unique_key, t.created_at, t.run_at, t.expires_at, t.started_at, t.finished_at, t.server_id,
    t.has_parents, case when t.state = 6 or t.cancel_requested then t.cancel_reason end, t.plain,
    t.has_context and coalesce((select x.plain from ty_task_context x where x.order_number = t.order_number), 0)
from ty_task t
where t.id = ?1
