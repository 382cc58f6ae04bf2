insert into ty_task_context (order_number, context, plain) values (?1, ?2, ?3)
on conflict (order_number) do update set context = excluded.context, plain = excluded.plain
