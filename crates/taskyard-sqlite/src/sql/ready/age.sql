select max(created_at, coalesce(run_at, created_at)) from ty_task where order_number = ?1
