insert into ty_unique_key (key, task, until) values (?1, ?2, ?3)
on conflict (key) do update set task = excluded.task, until = excluded.until
