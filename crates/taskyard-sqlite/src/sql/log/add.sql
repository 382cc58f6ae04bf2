insert into ty_task_log (order_number, attempt, level, logger, message, fields, traceback, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
