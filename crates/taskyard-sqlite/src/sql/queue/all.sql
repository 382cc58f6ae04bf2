select id, name, paused, running_max from ty_queue
