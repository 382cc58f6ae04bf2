-- One row per task. No index but those of its two keys: claim and completion change columns that no index holds.
-- The order number is the row's number in the file: its upper bits are one number per batch of additions.
create table ty_task (
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
);

-- What a claim reads: state = enqueued <=> one row here. `rank` is the priority negated, so that the key is ascending.
-- Lanes: 0 Rust, 1 Python; a paused or limited queue q has 2q + 2 + runtime; tasks that run alone -1 and -2.
create table ty_ready (
    lane integer not null,
    rank integer not null,
    order_number integer not null,
    queue text not null,
    primary key (lane, rank, order_number)
) without rowid;

-- State = waiting <=> one row here.
create table ty_waiting (
    order_number integer primary key,
    reason integer not null,
    open_parents integer not null default 0,
    run_at integer,
    parked text,
    runtime integer not null
);
create index ty_waiting_due on ty_waiting (run_at) where reason in (1, 2);
create index ty_waiting_parked on ty_waiting (runtime, parked) where reason = 3;

create table ty_edge (
    parent integer not null,
    child integer not null,
    place integer not null,
    open integer not null,
    primary key (parent, child)
) without rowid;
create index ty_edge_child on ty_edge (child, place);

-- Children of `parent` (order number) that still have to be told, beyond the child numbered `after`.
create table ty_cascade (
    parent integer not null,
    fate integer not null,
    root blob,
    after integer not null,
    primary key (parent, fate)
) without rowid;

-- One row per claim statement; `tasks` holds the order numbers, eight bytes each, least significant first.
create table ty_claim (
    id blob primary key,
    server_id blob not null,
    at integer not null,
    tasks blob not null
) without rowid;
create index ty_claim_server on ty_claim (server_id);

-- Attempts that did not end their task.
create table ty_attempt (
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
create index ty_attempt_task on ty_attempt (order_number);

create table ty_task_log (
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
create index ty_task_log_task on ty_task_log (order_number, sequence);

create table ty_task_context (
    order_number integer primary key,
    context blob not null
);

create table ty_server (
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
) without rowid;

create table ty_signal (
    task blob primary key,
    server_id blob not null,
    token blob not null,
    cancel integer not null
) without rowid;
create index ty_signal_server on ty_signal (server_id);

-- Queues that someone paused or limited, or a server served apart, once at least. apart: 1 its tasks are being moved to a
-- lane of its own, 2 they are all there.
create table ty_queue (
    id integer primary key,
    name text not null unique,
    paused integer not null default 0,
    running_max integer,
    apart integer not null default 0
);

-- How many tasks of a queue are in a state, kept by every transaction that moves one.
create table ty_queue_count (
    queue text not null,
    state integer not null,
    tasks integer not null,
    primary key (queue, state)
) without rowid;

create table ty_unique_key (
    key text primary key,
    task blob not null,
    until integer
) without rowid;

-- What becomes due for a task by itself: 0 = it expires, 1 = it is removed.
create table ty_deadline (
    sequence integer primary key,
    at integer not null,
    order_number integer not null,
    what integer not null
);
create index ty_deadline_at on ty_deadline (at);
create index ty_deadline_task on ty_deadline (order_number);

-- One row per task in state failed.
create table ty_dead (
    order_number integer primary key,
    at integer not null
);

create table ty_clock (
    one integer primary key check (one = 1),
    offset_us integer not null,
    frozen_at integer
);
insert into ty_clock values (1, 0, null);

-- The number of the last batch of additions, and how often the table of queues has changed.
create table ty_sequence (
    one integer primary key check (one = 1),
    batch integer not null,
    queues integer not null
);
insert into ty_sequence values (1, 0, 0);

-- Where the next pruning step starts.
create table ty_prune (
    one integer primary key check (one = 1),
    position integer not null
);
insert into ty_prune values (1, 0);
