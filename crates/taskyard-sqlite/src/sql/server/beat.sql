update ty_server
set beat = beat + 1, lease_until = ?2 + ?3, lease_us = ?3, last_beat_at = ?2, workers_max = ?4, workers_active = ?5,
    workers_idle = ?6, tasks_running = ?7
where id = ?1 and dead_at is null
