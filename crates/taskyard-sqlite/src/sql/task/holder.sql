-- Whether the attempt that this claim started is still running.
select 1 from ty_task where order_number = ?1 and state = 2 and server_id = ?2 and started_at = ?3
