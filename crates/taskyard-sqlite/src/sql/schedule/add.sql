insert into ty_schedule (name, rule, zone, kind, runtime, queue, priority, payload, options, overlap, catch_up,
    catch_up_window_us, jitter_us, starts_at, ends_at, runs_max, pause_after_failures, created_at, planned_from, plain)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?18, ?19)
on conflict (name) do nothing
