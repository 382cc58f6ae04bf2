select name, rule, zone, kind, runtime, queue, priority, payload, options, overlap, catch_up, catch_up_window_us,
    jitter_us, starts_at, ends_at, runs_max, pause_after_failures, version, planned, paused, ended, problem, created_at,
    planned_from, next_at, last_at, runs, failures, last_state, plain
from ty_schedule where name = ?1
