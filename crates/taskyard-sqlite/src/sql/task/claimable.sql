select state, id, kind, name, queue, payload, attempt, failures, policy, timeout_ms, has_context, has_parents, alone,
    expires_at, unique_key, unique_hold, runtime, token, server_id, plain
from ty_task
where order_number = ?1
