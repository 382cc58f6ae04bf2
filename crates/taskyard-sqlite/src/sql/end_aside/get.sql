select task, token, since, reason, code, result, after_us, error_type, error_message, error_traceback, context
from ty_end_aside where task = ?1
