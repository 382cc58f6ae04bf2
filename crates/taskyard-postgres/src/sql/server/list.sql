-- Servers that are alive, or died within the last day.
SELECT s.id, s.name, s.pid, s.version, s.dead_at IS NULL AND s.lease_until > n.now, s.workers_max, s.workers_active,
    s.workers_idle, s.tasks_running, s.started_at, s.last_beat_at
FROM taskyard.server s CROSS JOIN (SELECT taskyard.now() AS now) n
WHERE coalesce(s.dead_at, s.lease_until) > n.now - interval '1 day'
ORDER BY s.started_at, s.id
