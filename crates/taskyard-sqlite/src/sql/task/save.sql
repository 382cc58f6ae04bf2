update ty_task
set state = ?2, token = ?3, attempt = ?4, failures = ?5, lost = ?6, crashes = ?7, alone = ?8, cancel_requested = ?9,
    stop_requested = ?10, fallen_from = ?11, run_at = ?12, expires_at = ?13, started_at = ?14, finished_at = ?15,
    ended = ?16
where order_number = ?1
