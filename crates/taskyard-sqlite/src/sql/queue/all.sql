select id, name, paused, running_max, apart from ty_queue
