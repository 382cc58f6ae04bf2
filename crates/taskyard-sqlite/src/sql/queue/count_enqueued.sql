insert into ty_queue_count (queue, state, tasks)
select queue, 1, count(*) from ty_ready where true group by queue
on conflict (queue, state) do update set tasks = excluded.tasks
