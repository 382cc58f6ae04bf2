-- The tables. No hot column of the wide row stands in an index, so a claim and a completion are HOT updates (97 % of
-- them with this fillfactor); what is runnable is a small table of its own. Measured on PostgreSQL 15, one connection,
-- claim and finish by the thousand: 48,000 tasks/s and 517 B of WAL per task, against 44,000 and 655 B for the plain
-- layout with a partial index on the state.

CREATE TABLE taskyard.clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    offset_us bigint NOT NULL DEFAULT 0,
    frozen_at timestamptz
);
INSERT INTO taskyard.clock DEFAULT VALUES;

CREATE TABLE taskyard.setting (name text PRIMARY KEY, value text NOT NULL);

-- One value per batch, shifted by 20 bits; the rest of an order number is the place in the batch.
CREATE SEQUENCE taskyard.batch_number AS bigint;

CREATE TABLE taskyard.task (
    id uuid PRIMARY KEY,
    parent_id uuid,
    token uuid,
    server_id uuid,
    fallen_from uuid,
    order_number bigint NOT NULL,
    timeout_ms bigint,
    created_at timestamptz NOT NULL,
    run_at timestamptz,
    expires_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    priority int NOT NULL DEFAULT 0,
    attempt int NOT NULL DEFAULT 0,
    failures int NOT NULL DEFAULT 0,
    lost int NOT NULL DEFAULT 0,
    crashes int NOT NULL DEFAULT 0,
    runtime smallint NOT NULL,
    state smallint NOT NULL,
    on_parent_failure smallint NOT NULL DEFAULT 0,
    unique_hold smallint,
    alone boolean NOT NULL DEFAULT false,
    cancel_requested boolean NOT NULL DEFAULT false,
    stop_requested boolean NOT NULL DEFAULT false,
    has_children boolean NOT NULL DEFAULT false,
    has_parents boolean NOT NULL DEFAULT false,
    has_context boolean NOT NULL DEFAULT false,
    at_most_once boolean NOT NULL DEFAULT false,
    auto_remove boolean NOT NULL DEFAULT false,
    kind text NOT NULL,
    name text,
    queue text NOT NULL,
    unique_key text,
    policy text,
    tags text[],
    payload bytea NOT NULL,
    result bytea,
    error_type text,
    error_message text,
    error_traceback text
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1,
        autovacuum_analyze_scale_factor = 0.05);

-- state = enqueued <=> exactly one row here. rank = ~priority, so that one ascending row comparison starts a claim where
-- the last one stopped. Lanes: 0 Rust and 1 Python are shared; 2 * queue.id + 2 + runtime belongs to a paused or
-- limited queue; -1 Rust and -2 Python hold what must run alone.
--
-- Two parts that take turns: new rows go into one while the other empties and is truncated. Vacuum alone would not do:
-- while some session keeps an old snapshot it removes nothing, and every claim from the head reads all that was claimed
-- since (half the rate after a minute of load). See sql/ready/turn.sql.
CREATE TABLE taskyard.ready (
    order_number bigint NOT NULL,
    task_id uuid NOT NULL,
    lane int NOT NULL,
    rank int NOT NULL,
    turn smallint NOT NULL,
    queue text NOT NULL
) PARTITION BY LIST (turn);
CREATE TABLE taskyard.ready_0 PARTITION OF taskyard.ready FOR VALUES IN (0)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1);
CREATE TABLE taskyard.ready_1 PARTITION OF taskyard.ready FOR VALUES IN (1)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1);
CREATE INDEX ready_order ON taskyard.ready (lane, rank, order_number);

-- A row of it that a claim considers.
CREATE TYPE taskyard.candidate AS (rank int, order_number bigint, turn smallint, place tid, queue text);

-- One row: the part that takes new rows.
CREATE TABLE taskyard.ready_turn (
    turn smallint NOT NULL CHECK (turn IN (0, 1))
);
INSERT INTO taskyard.ready_turn VALUES (0);

-- state = waiting <=> exactly one row here. reason: 0 parents, 1 time, 2 retry, 3 parked, 4 unsettled.
CREATE TABLE taskyard.waiting (
    task_id uuid PRIMARY KEY,
    run_at timestamptz,
    open_parents int NOT NULL DEFAULT 0,
    reason smallint NOT NULL,
    runtime smallint NOT NULL,
    queue text NOT NULL,
    parked text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX waiting_due ON taskyard.waiting (run_at) WHERE reason IN (1, 2);
CREATE INDEX waiting_parked ON taskyard.waiting (runtime, parked) WHERE reason = 3;
CREATE INDEX waiting_unsettled ON taskyard.waiting (task_id) WHERE reason = 4;

CREATE TABLE taskyard.edge (
    parent_id uuid NOT NULL,
    child_id uuid NOT NULL,
    place int NOT NULL,
    open boolean NOT NULL,
    PRIMARY KEY (parent_id, child_id)
) WITH (fillfactor = 70);
CREATE INDEX edge_child ON taskyard.edge (child_id);

-- One row per claim (and, of a limited queue, per queue in it): a rescue reads the rows of the dead server, so that the
-- wide row needs no index on its server.
CREATE TABLE taskyard.claim (
    id uuid NOT NULL,
    server_id uuid NOT NULL,
    queue text NOT NULL DEFAULT '',
    size int NOT NULL,
    task_ids uuid[] NOT NULL,
    PRIMARY KEY (id, queue)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
-- Random ids do not compress: do not try.
ALTER TABLE taskyard.claim ALTER COLUMN task_ids SET STORAGE EXTERNAL;
CREATE INDEX claim_queue ON taskyard.claim (queue) WHERE queue <> '';

CREATE TABLE taskyard.attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id uuid NOT NULL,
    server_id uuid,
    started_at timestamptz,
    ended_at timestamptz,
    number int NOT NULL,
    outcome smallint NOT NULL,
    error_type text,
    error_message text,
    error_traceback text
);
CREATE INDEX attempt_task ON taskyard.attempt (task_id);

CREATE TABLE taskyard.task_log (
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    task_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    attempt int NOT NULL,
    level smallint NOT NULL,
    logger text NOT NULL,
    message text NOT NULL,
    fields bytea,
    traceback text,
    PRIMARY KEY (task_id, sequence)
);

CREATE TABLE taskyard.task_context (task_id uuid PRIMARY KEY, context bytea NOT NULL) WITH (fillfactor = 70);

CREATE TABLE taskyard.server (
    id uuid PRIMARY KEY,
    beat bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL,
    lease_ms bigint NOT NULL,
    dead_at timestamptz,
    started_at timestamptz NOT NULL,
    last_beat_at timestamptz NOT NULL,
    pid bigint NOT NULL,
    -- The history that the database was writing when the server entered: a standby that takes over begins another.
    timeline text NOT NULL,
    workers_max bigint NOT NULL,
    workers_active bigint NOT NULL DEFAULT 0,
    workers_idle bigint NOT NULL DEFAULT 0,
    tasks_running bigint NOT NULL DEFAULT 0,
    name text NOT NULL,
    version text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE taskyard.signal (
    server_id uuid NOT NULL,
    task_id uuid NOT NULL,
    token uuid NOT NULL,
    cancel boolean NOT NULL,
    PRIMARY KEY (server_id, task_id)
);

-- A row only for a queue that someone configured, or that a server serves apart (apart: see queue_set_apart). lane: 0 =
-- shared, else its own (plus the runtime). draining: shared again, but rows may still lie in its own lane.
CREATE TABLE taskyard.queue (
    id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    paused boolean NOT NULL DEFAULT false,
    draining boolean NOT NULL DEFAULT false,
    lane int NOT NULL DEFAULT 0,
    running_max bigint,
    apart smallint NOT NULL DEFAULT 0
);
CREATE INDEX queue_own ON taskyard.queue (id) WHERE lane <> 0 OR draining;

CREATE TABLE taskyard.unique_key (key text PRIMARY KEY, task_id uuid NOT NULL, until timestamptz);
CREATE INDEX unique_key_until ON taskyard.unique_key (until) WHERE until IS NOT NULL;

-- "The children of task_id still have to be told": 0 done, 1 failed, 2 cancelled, 3 revived; told up to position.
CREATE TABLE taskyard.cascade (
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    task_id uuid NOT NULL,
    kind smallint NOT NULL,
    root uuid,
    position uuid,
    PRIMARY KEY (task_id, kind)
);
CREATE INDEX cascade_sequence ON taskyard.cascade (sequence);
CREATE INDEX cascade_root ON taskyard.cascade (root);

-- what: 0 expire, 1 remove.
CREATE TABLE taskyard.deadline (at timestamptz NOT NULL, task_id uuid NOT NULL, what smallint NOT NULL);
CREATE INDEX deadline_at ON taskyard.deadline (at);
CREATE INDEX deadline_task ON taskyard.deadline (task_id);

-- One row per task in state failed.
CREATE TABLE taskyard.dead (task_id uuid PRIMARY KEY, at timestamptz NOT NULL);

-- Where the last step of pruning stopped.
CREATE TABLE taskyard.prune (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), position uuid);
INSERT INTO taskyard.prune DEFAULT VALUES;
