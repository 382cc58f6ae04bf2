select id, name, paused, running_max, apart, ageing_us from ty_queue
