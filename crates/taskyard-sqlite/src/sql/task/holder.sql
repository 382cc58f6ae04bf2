-- Whether what this claim started of a task still runs.
select 1 from ty_task where order_number = ?1 and state = 2 and server_id = ?2 and started_at = ?3
