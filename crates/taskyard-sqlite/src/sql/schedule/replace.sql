update ty_schedule set version = version + 1, planned = 0, problem = null, next_at = null,
    planned_from = case when rule <> ?2 or ended and rule not like '@at %' and rule not like '@after %'
        and (starts_at, ends_at, runs_max) is not (?14, ?15, ?16) then ?18 else planned_from end,
    ended = case when rule <> ?2 or rule not like '@at %' and rule not like '@after %'
        and (starts_at, ends_at, runs_max) is not (?14, ?15, ?16) then 0 else ended end,
    rule = ?2, zone = ?3, kind = ?4, runtime = ?5, queue = ?6, priority = ?7, payload = ?8, options = ?9, overlap = ?10,
    catch_up = ?11, catch_up_window_us = ?12, jitter_us = ?13, starts_at = ?14, ends_at = ?15, runs_max = ?16,
    pause_after_failures = ?17, plain = ?19
where name = ?1 and (rule, zone, kind, runtime, queue, priority, payload, options, overlap, catch_up, catch_up_window_us,
        jitter_us, plain) is not (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?19)
    or name = ?1 and (starts_at, ends_at, runs_max, pause_after_failures) is not (?14, ?15, ?16, ?17)
