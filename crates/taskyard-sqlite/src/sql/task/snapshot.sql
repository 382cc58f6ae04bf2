select t.order_number, t.state, t.attempt, t.failures, t.created_at, t.run_at, t.started_at, t.finished_at, t.error_type,
    t.error_message, t.has_context
from ty_task t
where t.id = ?1
