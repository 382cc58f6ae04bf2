insert into ty_queue_count (queue, state, tasks) values (?1, ?2, ?3)
on conflict (queue, state) do update set tasks = tasks + excluded.tasks
