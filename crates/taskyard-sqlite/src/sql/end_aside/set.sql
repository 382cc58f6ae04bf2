insert into ty_end_aside (task, token, since, reason, code, result, after_us, error_type, error_message, error_traceback,
    context)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
on conflict (task) do update set since = iif(token = excluded.token, since, excluded.since), token = excluded.token,
    reason = excluded.reason, code = excluded.code, result = excluded.result, after_us = excluded.after_us,
    error_type = excluded.error_type, error_message = excluded.error_message,
    error_traceback = excluded.error_traceback, context = excluded.context
