-- Number of ends set aside whose tasks still count as running in a queue.
select count(*) from ty_end_aside a join ty_task t on t.id = a.task and t.token = a.token
where t.state = 2 and t.queue = ?1
