update ty_schedule_run set open = 0, state = ?2, finished_at = ?3, error_type = ?4, error_message = ?5
where sequence = ?1
