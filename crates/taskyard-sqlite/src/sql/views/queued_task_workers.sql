create view queued_task_workers as /* taskyard */
select
    lower(substr(hex(s.id), 1, 8) || '-' || substr(hex(s.id), 9, 4) || '-' || substr(hex(s.id), 13, 4) || '-' || substr(hex(s.id), 17, 4) || '-' || substr(hex(s.id), 21)) as id,
    s.name as server_name,
    s.pid,
    s.version,
    s.workers_max as max_workers,
    s.workers_active as active_workers,
    s.workers_idle as idle_workers,
    s.tasks_running,
    s.dead_at is null and s.lease_until > taskyard_now() as is_running,
    strftime('%Y-%m-%d %H:%M:%f', s.started_at / 1000000.0, 'unixepoch') as date_started,
    strftime('%Y-%m-%d %H:%M:%f', s.last_beat_at / 1000000.0, 'unixepoch') as last_heartbeat
from ty_server s
