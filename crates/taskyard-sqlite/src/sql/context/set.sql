insert into ty_task_context (order_number, context) values (?1, ?2)
on conflict (order_number) do update set context = excluded.context
