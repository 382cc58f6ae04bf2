select number, server_id, started_at, ended_at, outcome, error_type, error_message, error_traceback
from ty_attempt
where order_number = ?1
order by id
