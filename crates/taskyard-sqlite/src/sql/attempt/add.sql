insert into ty_attempt (
    order_number, number, server_id, started_at, ended_at, outcome, error_type, error_message, error_traceback
) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
