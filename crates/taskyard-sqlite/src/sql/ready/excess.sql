-- Difference between the number of tasks counted as enqueued and the number of rows in the runnable range.
select coalesce((select sum(tasks) from ty_queue_count where state = 1), 0) - (select count(*) from ty_ready)
