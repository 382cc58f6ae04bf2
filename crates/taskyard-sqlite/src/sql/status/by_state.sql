select state, sum(tasks) from ty_queue_count group by state
