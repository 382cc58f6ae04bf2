SELECT s.name, s.rule, s.zone, s.kind, s.runtime, s.queue, s.priority, s.payload, s.options, s.overlap, s.catch_up,
    s.catch_up_window_us, s.jitter_us, s.starts_at, s.ends_at, s.runs_max, s.pause_after_failures, s.version, s.planned,
    s.paused, s.ended, s.problem, s.created_at, s.planned_from, s.next_at, s.last_at, s.runs, s.failures, s.last_state, s.plain
FROM taskyard.schedule s
WHERE s.name = ANY ($1)
ORDER BY s.name
