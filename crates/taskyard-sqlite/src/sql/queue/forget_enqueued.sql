update ty_queue_count set tasks = 0 where state = 1
