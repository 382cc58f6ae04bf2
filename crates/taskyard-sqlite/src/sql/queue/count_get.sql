select tasks from ty_queue_count where queue = ?1 and state = ?2
