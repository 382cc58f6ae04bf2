insert into ty_server (id, name, pid, version, beat, lease_until, lease_us, workers_max, started_at, last_beat_at)
values (?1, ?2, ?3, ?4, 0, ?5 + ?6, ?6, ?7, ?5, ?5)
on conflict (id) do update
set name = excluded.name, pid = excluded.pid, version = excluded.version, lease_until = excluded.lease_until,
    lease_us = excluded.lease_us, workers_max = excluded.workers_max, last_beat_at = excluded.last_beat_at
where dead_at is null
