update ty_task
set state = 2, attempt = attempt + 1, token = ?2, server_id = ?3, started_at = ?4
where order_number = ?1
