select state, case state when 4 then result end, error_type, error_message, error_traceback, runtime = 1 and plain & 2 = 0
from ty_task
where id = ?1 and state between 3 and 6
