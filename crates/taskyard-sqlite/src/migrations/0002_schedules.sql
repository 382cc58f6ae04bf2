-- Schedules: rules that enqueue tasks at times. Every write raises `version`: whoever planned on an older one changes
-- nothing.
create table ty_schedule (
    name text primary key,
    rule text not null,
    zone text not null,
    kind text not null,
    runtime integer not null,
    queue text not null,
    priority integer not null,
    payload blob not null,
    options text not null,
    overlap integer not null,
    catch_up integer not null,
    catch_up_window_us integer not null,
    jitter_us integer not null,
    starts_at integer,
    ends_at integer,
    runs_max integer,
    pause_after_failures integer,
    version integer not null default 1,
    planned integer not null default 0,
    paused integer not null default 0,
    ended integer not null default 0,
    problem text,
    created_at integer not null,
    planned_from integer not null,
    next_at integer,
    last_at integer,
    runs integer not null default 0,
    failures integer not null default 0,
    last_state integer
) without rowid;
create index ty_schedule_due on ty_schedule (next_at) where planned and not paused and not ended and problem is null;
create index ty_schedule_unplanned on ty_schedule (name) where not planned and not paused and problem is null;

-- What became of each of their times. outcome: 0 enqueued, 1 held, 2 skipped, 3 missed. open: held, or its task has not
-- ended as far as the schedule knows.
create table ty_schedule_run (
    sequence integer primary key autoincrement,
    schedule text not null,
    fire_at integer not null,
    until integer,
    count integer not null,
    outcome integer not null,
    manual integer not null,
    open integer not null,
    task_id blob,
    state integer,
    created_at integer not null,
    finished_at integer,
    error_type text,
    error_message text
);
create index ty_schedule_run_of on ty_schedule_run (schedule, sequence);
create index ty_schedule_run_open on ty_schedule_run (schedule, sequence) where open;
