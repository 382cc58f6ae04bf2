select order_number, id, state, token, server_id, runtime, queue, priority, attempt, failures, lost, crashes, alone,
    cancel_requested, stop_requested, has_children, has_parents, has_context, at_most_once, auto_remove,
    on_parent_failure, fallen_from, unique_key, unique_hold, created_at, run_at, expires_at, started_at, finished_at,
    ended, kind
from ty_task
where order_number = ?1
