-- Ends aside whose tasks still stand among the running ones of a queue.
select count(*) from ty_end_aside a join ty_task t on t.id = a.task and t.token = a.token
where t.state = 2 and t.queue = ?1
