insert into ty_queue (name, running_max) values (?1, ?2)
on conflict (name) do update set running_max = excluded.running_max
