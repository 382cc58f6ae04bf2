select id, name, paused, running_max, apart, ageing_us, rate_count, rate_us from ty_queue
