-- How many more tasks are counted as enqueued than stand in the runnable range.
select coalesce((select sum(tasks) from ty_queue_count where state = 1), 0) - (select count(*) from ty_ready)
