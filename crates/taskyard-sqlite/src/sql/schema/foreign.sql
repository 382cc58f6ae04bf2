-- Relations with Taskyard's names in a file without its schema.
select name from sqlite_schema
where lower(name) in (
    'ty_task', 'ty_ready', 'ty_waiting', 'ty_waiting_due', 'ty_waiting_parked', 'ty_edge', 'ty_edge_child',
    'ty_cascade', 'ty_claim', 'ty_claim_server', 'ty_attempt', 'ty_attempt_task', 'ty_task_log',
    'ty_task_log_task', 'ty_task_context', 'ty_server', 'ty_signal', 'ty_signal_server', 'ty_queue',
    'ty_queue_count', 'ty_unique_key', 'ty_deadline', 'ty_deadline_at', 'ty_deadline_task', 'ty_dead',
    'ty_clock', 'ty_sequence', 'ty_prune', 'ty_migration'
)
limit 1
