-- A migrated SQLite file, for reading, not for running. Generated from its table sqlite_schema by tests/sqlite/schema.rs.
-- Comments are those of the migrations. Columns that later migrations added follow the last column on its line.

CREATE TABLE ty_attempt (
    id integer primary key,
    order_number integer not null,
    number integer not null,
    server_id blob,
    started_at integer,
    ended_at integer,
    outcome integer not null,
    error_type text,
    error_message text,
    error_traceback text
);
CREATE INDEX ty_attempt_task on ty_attempt (order_number);

CREATE TABLE ty_build (
    id integer primary key autoincrement,
    runtime integer not null,
    fingerprint text not null,
    seen_at integer not null,
    unique (runtime, fingerprint)
);

CREATE TABLE ty_cascade (
    parent integer not null,
    fate integer not null,
    root blob,
    after integer not null,
    primary key (parent, fate)
) without rowid;

CREATE TABLE ty_claim (
    id blob primary key,
    server_id blob not null,
    at integer not null,
    tasks blob not null
) without rowid;
CREATE INDEX ty_claim_server on ty_claim (server_id);

CREATE TABLE ty_clock (
    one integer primary key check (one = 1),
    offset_us integer not null,
    frozen_at integer
);

CREATE TABLE ty_dead (
    order_number integer primary key,
    at integer not null
, told integer not null default 0, teller blob);
CREATE INDEX ty_dead_untold on ty_dead (at) where told = 0;

CREATE TABLE ty_deadline (
    sequence integer primary key,
    at integer not null,
    order_number integer not null,
    what integer not null
);
CREATE INDEX ty_deadline_at on ty_deadline (at);
CREATE INDEX ty_deadline_expire on ty_deadline (at) where what = 0;
CREATE INDEX ty_deadline_task on ty_deadline (order_number);

CREATE TABLE ty_edge (
    parent integer not null,
    child integer not null,
    place integer not null,
    open integer not null,
    primary key (parent, child)
) without rowid;
CREATE INDEX ty_edge_child on ty_edge (child, place);

CREATE TABLE ty_end_aside (
    task blob primary key,
    token blob not null,
    since integer not null,
    reason text not null,
    code integer not null,
    result blob,
    after_us integer,
    error_type text,
    error_message text,
    error_traceback text,
    context blob
);

CREATE TABLE ty_kind (
    runtime integer not null,
    kind text not null,
    group_id integer not null,
    primary key (runtime, kind)
) without rowid;
CREATE INDEX ty_kind_group_of on ty_kind (group_id);

CREATE TABLE ty_kind_group (
    id integer primary key autoincrement,
    runtime integer not null,
    builds text not null,
    draining integer not null default 0
);

CREATE TABLE ty_kind_walk (
    one integer primary key check (one = 1),
    version integer not null,
    walked integer not null,
    walking integer,
    lane integer,
    rank integer,
    order_number integer
);

CREATE TABLE ty_migration (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at integer not null
);

CREATE TABLE ty_prune (
    one integer primary key check (one = 1),
    position integer not null
);

CREATE TABLE ty_queue (
    id integer primary key,
    name text not null unique,
    paused integer not null default 0,
    running_max integer,
    apart integer not null default 0
, ageing_us integer, rate_count integer, rate_us integer, rate_full_at integer);

CREATE TABLE ty_queue_count (
    queue text not null,
    state integer not null,
    tasks integer not null,
    primary key (queue, state)
) without rowid;

CREATE TABLE ty_ready (
    lane integer not null,
    rank integer not null,
    order_number integer not null,
    queue text not null, ages_at integer,
    primary key (lane, rank, order_number)
) without rowid;
CREATE INDEX ty_ready_aged on ty_ready (order_number) where ages_at is not null;
CREATE INDEX ty_ready_ages on ty_ready (ages_at) where ages_at is not null;

CREATE TABLE ty_refused (
    id blob primary key,
    at integer not null
) without rowid;
CREATE INDEX ty_refused_at on ty_refused (at);

CREATE TABLE ty_schedule (
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
, plain integer not null default 0) without rowid;
CREATE INDEX ty_schedule_due on ty_schedule (next_at) where planned and not paused and not ended and problem is null;
CREATE INDEX ty_schedule_unplanned on ty_schedule (name) where not planned and not paused and problem is null;

CREATE TABLE ty_schedule_run (
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
CREATE INDEX ty_schedule_run_of on ty_schedule_run (schedule, sequence);
CREATE INDEX ty_schedule_run_open on ty_schedule_run (schedule, sequence) where open;

CREATE TABLE ty_sequence (
    one integer primary key check (one = 1),
    batch integer not null,
    queues integer not null
);

CREATE TABLE ty_server (
    id blob primary key,
    name text not null,
    pid integer not null,
    version text not null,
    beat integer not null,
    lease_until integer not null,
    lease_us integer not null,
    dead_at integer,
    workers_max integer not null,
    workers_active integer not null default 0,
    workers_idle integer not null default 0,
    tasks_running integer not null default 0,
    started_at integer not null,
    last_beat_at integer not null
, ends_held integer not null default 0, ends_held_reason text, says integer not null default 0, build_0 integer, build_1 integer, queues text) without rowid;

CREATE TABLE ty_signal (
    task blob primary key,
    server_id blob not null,
    token blob not null,
    cancel integer not null
) without rowid;
CREATE INDEX ty_signal_server on ty_signal (server_id);

CREATE TABLE ty_task (
    order_number integer primary key,
    id blob not null unique,
    state integer not null,
    token blob,
    server_id blob,
    kind text not null,
    runtime integer not null,
    name text,
    queue text not null,
    priority integer not null,
    attempt integer not null default 0,
    failures integer not null default 0,
    lost integer not null default 0,
    crashes integer not null default 0,
    alone integer not null default 0,
    cancel_requested integer not null default 0,
    stop_requested integer not null default 0,
    has_children integer not null default 0,
    has_parents integer not null default 0,
    has_context integer not null default 0,
    at_most_once integer not null default 0,
    auto_remove integer not null default 0,
    on_parent_failure integer not null default 0,
    parent_id blob,
    fallen_from blob,
    policy text,
    timeout_ms integer,
    unique_key text,
    unique_hold integer,
    tags text,
    created_at integer not null,
    run_at integer,
    expires_at integer,
    started_at integer,
    finished_at integer,
    -- How the last attempt ended, if its end was the task's: that attempt has no row of its own.
    ended integer,
    error_type text,
    error_message text,
    error_traceback text,
    result blob,
    payload blob not null
, cancel_reason text, plain integer not null default 0);

CREATE TABLE ty_task_context (
    order_number integer primary key,
    context blob not null
, plain integer not null default 0);

CREATE TABLE ty_task_log (
    sequence integer primary key autoincrement,
    order_number integer not null,
    attempt integer not null,
    level integer not null,
    logger text not null,
    message text not null,
    fields blob,
    traceback text,
    created_at integer not null
);
CREATE INDEX ty_task_log_task on ty_task_log (order_number, sequence);

CREATE TABLE ty_unique_key (
    key text primary key,
    task blob not null,
    until integer
) without rowid;

CREATE TABLE ty_waiting (
    order_number integer primary key,
    reason integer not null,
    open_parents integer not null default 0,
    run_at integer,
    parked text,
    runtime integer not null
);
CREATE INDEX ty_waiting_due on ty_waiting (run_at) where reason in (1, 2);
CREATE INDEX ty_waiting_parked on ty_waiting (runtime, parked) where reason = 3;

CREATE VIEW queued_task_logs as /* taskyard */
select
    l.sequence as id,
    lower(substr(hex(t.id), 1, 8) || '-' || substr(hex(t.id), 9, 4) || '-' || substr(hex(t.id), 13, 4) || '-' || substr(hex(t.id), 17, 4) || '-' || substr(hex(t.id), 21)) as queued_task_id,
    case
        when l.level >= 50 then 'critical'
        when l.level >= 40 then 'error'
        when l.level >= 30 then 'warning'
        when l.level >= 20 then 'info'
        else 'debug'
    end as type,
    l.message,
    strftime('%Y-%m-%d %H:%M:%f', l.created_at / 1000000.0, 'unixepoch') as date_created,
    l.logger as name,
    l.level,
    l.attempt,
    case when json_valid(cast(l.fields as text)) then cast(l.fields as text) end as fields,
    l.traceback
from ty_task_log l
join ty_task t on t.order_number = l.order_number;

CREATE VIEW queued_task_workers as /* taskyard */
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
from ty_server s;

CREATE VIEW queued_tasks as /* taskyard */
select
    lower(substr(hex(t.id), 1, 8) || '-' || substr(hex(t.id), 9, 4) || '-' || substr(hex(t.id), 13, 4) || '-' || substr(hex(t.id), 17, 4) || '-' || substr(hex(t.id), 21)) as id,
    coalesce(t.name, t.kind) as name,
    t.kind,
    case t.runtime when 0 then 'rust' else 'python' end as runtime,
    case t.state when 0 then 'waiting' when 1 then 'enqueued' when 2 then 'doing' when 3 then 'stopped' when 4 then 'done' when 5 then 'failed' when 6 then 'cancelled' else 'unknown' end as state,
    case when t.parent_id is not null then lower(substr(hex(t.parent_id), 1, 8) || '-' || substr(hex(t.parent_id), 9, 4) || '-' || substr(hex(t.parent_id), 13, 4) || '-' || substr(hex(t.parent_id), 17, 4) || '-' || substr(hex(t.parent_id), 21)) end as parent_task,
    strftime('%Y-%m-%d %H:%M:%f', t.created_at / 1000000.0, 'unixepoch') as date_enqueued,
    strftime('%Y-%m-%d %H:%M:%f', t.started_at / 1000000.0, 'unixepoch') as date_started,
    strftime('%Y-%m-%d %H:%M:%f', t.finished_at / 1000000.0, 'unixepoch') as date_done,
    t.queue,
    t.priority,
    case when json_valid(cast(t.payload as text)) then json_extract(cast(t.payload as text), '$.args') end as args,
    case when json_valid(cast(t.payload as text)) then json_extract(cast(t.payload as text), '$.kwargs') end as kwargs,
    (select case when json_valid(cast(c.context as text)) then cast(c.context as text) end from ty_task_context c where c.order_number = t.order_number) as context,
    case when json_valid(cast(t.result as text)) then cast(t.result as text) end as result,
    case when t.error_type is not null then t.error_type || ': ' || coalesce(t.error_message, '') end as error,
    t.error_traceback as traceback,
    case w.reason
        when 0 then coalesce((
            select 'parent ' || case p.state when 0 then 'waiting' when 1 then 'enqueued' when 2 then 'doing' when 3 then 'stopped' when 4 then 'done' when 5 then 'failed' when 6 then 'cancelled' else 'unknown' end
            from ty_edge e
            join ty_task p on p.order_number = e.parent
            where e.child = t.order_number and e.open
            order by p.state <> 3, e.place
            limit 1
        ), 'parent unfinished')
        when 1 then 'start time ahead'
        when 2 then 'backing off'
        when 3 then w.parked
        when 4 then 'parents being settled'
    end as waiting_for,
    t.attempt,
    t.failures,
    t.lost,
    t.crashes,
    t.unique_key,
    t.tags,
    strftime('%Y-%m-%d %H:%M:%f', t.run_at / 1000000.0, 'unixepoch') as date_run_at,
    strftime('%Y-%m-%d %H:%M:%f', t.expires_at / 1000000.0, 'unixepoch') as date_expires,
    case when t.server_id is not null then lower(substr(hex(t.server_id), 1, 8) || '-' || substr(hex(t.server_id), 9, 4) || '-' || substr(hex(t.server_id), 13, 4) || '-' || substr(hex(t.server_id), 17, 4) || '-' || substr(hex(t.server_id), 21)) end as server
from ty_task t
left join ty_waiting w on w.order_number = t.order_number;
