select state, attempt, server_id, started_at, finished_at, ended, error_type, error_message, error_traceback
from ty_task
where order_number = ?1
