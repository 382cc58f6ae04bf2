select id, name, pid, version, dead_at is null and lease_until > ?1, workers_max, workers_active, workers_idle,
    tasks_running, started_at, last_beat_at
from ty_server
where coalesce(dead_at, ?1) > ?2
order by started_at, id
