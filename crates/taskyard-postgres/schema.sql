-- A migrated PostgreSQL database, for reading, not for running. Generated from the system catalogs by tests/schema.rs.
-- Each function names the file of its body. The queries of the views are in src/sql/view/views.sql.

CREATE SCHEMA taskyard;

CREATE TYPE taskyard.candidate AS (
    rank integer,
    order_number bigint,
    turn smallint,
    place tid,
    queue text
);

CREATE SEQUENCE taskyard.batch_number AS bigint START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1;

CREATE TABLE taskyard.attempt (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    task_id uuid NOT NULL,
    server_id uuid,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    number integer NOT NULL,
    outcome smallint NOT NULL,
    error_type text,
    error_message text,
    error_traceback text,
    CONSTRAINT attempt_pkey PRIMARY KEY (id)
);
CREATE INDEX attempt_task ON taskyard.attempt USING btree (task_id);

CREATE TABLE taskyard.build (
    id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    runtime smallint NOT NULL,
    fingerprint text NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    CONSTRAINT build_pkey PRIMARY KEY (id),
    CONSTRAINT build_runtime_fingerprint_key UNIQUE (runtime, fingerprint)
);

CREATE TABLE taskyard.cascade (
    sequence bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    task_id uuid NOT NULL,
    kind smallint NOT NULL,
    root uuid,
    "position" uuid,
    not_before timestamp with time zone,
    CONSTRAINT cascade_pkey PRIMARY KEY (task_id, kind)
);
CREATE INDEX cascade_root ON taskyard.cascade USING btree (root);
CREATE INDEX cascade_sequence ON taskyard.cascade USING btree (sequence);

CREATE TABLE taskyard.claim (
    id uuid NOT NULL,
    server_id uuid NOT NULL,
    queue text NOT NULL DEFAULT ''::text,
    size integer NOT NULL,
    task_ids uuid[] STORAGE EXTERNAL NOT NULL,
    CONSTRAINT claim_pkey PRIMARY KEY (id, queue)
) WITH (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=500, autovacuum_vacuum_cost_delay=0);
CREATE INDEX claim_queue ON taskyard.claim USING btree (queue) WHERE (queue <> ''::text);

CREATE TABLE taskyard.clock (
    only_row boolean NOT NULL DEFAULT true,
    offset_us bigint NOT NULL DEFAULT 0,
    frozen_at timestamp with time zone,
    CONSTRAINT clock_pkey PRIMARY KEY (only_row),
    CONSTRAINT clock_only_row_check CHECK (only_row)
);

CREATE TABLE taskyard.dead (
    task_id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    told boolean NOT NULL DEFAULT false,
    teller uuid,
    CONSTRAINT dead_pkey PRIMARY KEY (task_id)
);
CREATE INDEX dead_untold ON taskyard.dead USING btree (at) WHERE (NOT told);

CREATE TABLE taskyard.deadline (
    at timestamp with time zone NOT NULL,
    task_id uuid NOT NULL,
    what smallint NOT NULL,
    CONSTRAINT deadline_instants CHECK (isfinite(at)) NOT VALID
);
CREATE INDEX deadline_at ON taskyard.deadline USING btree (at);
CREATE INDEX deadline_expire ON taskyard.deadline USING btree (at) WHERE (what = 0);
CREATE INDEX deadline_task ON taskyard.deadline USING btree (task_id);

CREATE TABLE taskyard.edge (
    parent_id uuid NOT NULL,
    child_id uuid NOT NULL,
    place integer NOT NULL,
    open boolean NOT NULL,
    CONSTRAINT edge_pkey PRIMARY KEY (parent_id, child_id)
) WITH (fillfactor=70);
CREATE INDEX edge_child ON taskyard.edge USING btree (child_id);

CREATE TABLE taskyard.end_aside (
    task_id uuid NOT NULL,
    token uuid NOT NULL,
    since timestamp with time zone NOT NULL,
    reason text NOT NULL,
    code smallint NOT NULL,
    result bytea,
    after_us bigint,
    error_type text,
    error_message text,
    error_traceback text,
    context bytea,
    CONSTRAINT end_aside_pkey PRIMARY KEY (task_id)
);

CREATE TABLE taskyard.kind (
    runtime smallint NOT NULL,
    kind text NOT NULL,
    group_id integer NOT NULL,
    CONSTRAINT kind_pkey PRIMARY KEY (runtime, kind)
);
CREATE INDEX kind_group_of ON taskyard.kind USING btree (group_id);

CREATE TABLE taskyard.kind_group (
    id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    runtime smallint NOT NULL,
    builds integer[] NOT NULL,
    draining boolean NOT NULL DEFAULT false,
    CONSTRAINT kind_group_pkey PRIMARY KEY (id)
);

CREATE TABLE taskyard.kind_walk (
    only_row boolean NOT NULL DEFAULT true,
    version bigint NOT NULL DEFAULT 0,
    walked bigint NOT NULL DEFAULT 0,
    walking bigint,
    lane bigint,
    rank integer,
    order_number bigint,
    CONSTRAINT kind_walk_pkey PRIMARY KEY (only_row),
    CONSTRAINT kind_walk_only_row_check CHECK (only_row)
);

CREATE TABLE taskyard.migration (
    version bigint NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT migration_pkey PRIMARY KEY (version)
);

CREATE TABLE taskyard.prune (
    only_row boolean NOT NULL DEFAULT true,
    "position" uuid,
    CONSTRAINT prune_pkey PRIMARY KEY (only_row),
    CONSTRAINT prune_only_row_check CHECK (only_row)
);

CREATE TABLE taskyard.queue (
    id integer GENERATED BY DEFAULT AS IDENTITY NOT NULL,
    name text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    draining boolean NOT NULL DEFAULT false,
    lane integer NOT NULL DEFAULT 0,
    running_max bigint,
    apart smallint NOT NULL DEFAULT 0,
    ageing_us bigint,
    rate_count integer,
    rate_us bigint,
    rate_full_at timestamp with time zone,
    CONSTRAINT queue_pkey PRIMARY KEY (id),
    CONSTRAINT queue_name_key UNIQUE (name),
    CONSTRAINT queue_instants CHECK (isfinite(rate_full_at)) NOT VALID
);
CREATE INDEX queue_own ON taskyard.queue USING btree (id) WHERE ((lane <> 0) OR draining);

CREATE TABLE taskyard.ready (
    order_number bigint NOT NULL,
    task_id uuid NOT NULL,
    lane bigint NOT NULL,
    rank integer NOT NULL,
    turn smallint NOT NULL,
    queue text NOT NULL,
    ages_at timestamp with time zone,
    CONSTRAINT ready_instants CHECK (isfinite(ages_at)) NOT VALID
) PARTITION BY LIST (turn);
CREATE INDEX ready_aged_task ON ONLY taskyard.ready USING btree (task_id) WHERE (ages_at IS NOT NULL);
CREATE INDEX ready_ages ON ONLY taskyard.ready USING btree (ages_at) WHERE (ages_at IS NOT NULL);
CREATE INDEX ready_order ON ONLY taskyard.ready USING btree (lane, rank, order_number);

CREATE TABLE taskyard.ready_0 PARTITION OF taskyard.ready FOR VALUES IN ('0') WITH (autovacuum_vacuum_scale_factor=0,
        autovacuum_vacuum_threshold=5000, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_threshold=-1);

CREATE TABLE taskyard.ready_1 PARTITION OF taskyard.ready FOR VALUES IN ('1') WITH (autovacuum_vacuum_scale_factor=0,
        autovacuum_vacuum_threshold=5000, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_threshold=-1);

CREATE TABLE taskyard.ready_turn (
    turn smallint NOT NULL,
    only_row boolean NOT NULL DEFAULT true,
    CONSTRAINT ready_turn_pkey PRIMARY KEY (only_row),
    CONSTRAINT ready_turn_only_row_check CHECK (only_row),
    CONSTRAINT ready_turn_turn_check CHECK (turn = ANY (ARRAY[0, 1]))
);

CREATE TABLE taskyard.refused (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT refused_pkey PRIMARY KEY (id)
);
CREATE INDEX refused_at ON taskyard.refused USING btree (at);

CREATE TABLE taskyard.schedule (
    name text COLLATE "C" NOT NULL,
    rule text NOT NULL,
    zone text NOT NULL DEFAULT 'UTC'::text,
    kind text NOT NULL,
    runtime smallint NOT NULL DEFAULT 0,
    queue text NOT NULL DEFAULT 'default'::text,
    priority integer NOT NULL DEFAULT 0,
    payload bytea NOT NULL,
    options text NOT NULL DEFAULT '{}'::text,
    overlap smallint NOT NULL DEFAULT 0,
    catch_up smallint NOT NULL DEFAULT 1,
    catch_up_window_us bigint NOT NULL DEFAULT '86400000000'::bigint,
    jitter_us bigint NOT NULL DEFAULT 0,
    starts_at timestamp with time zone,
    ends_at timestamp with time zone,
    runs_max bigint,
    pause_after_failures bigint,
    version bigint NOT NULL DEFAULT 1,
    planned boolean NOT NULL DEFAULT false,
    paused boolean NOT NULL DEFAULT false,
    ended boolean NOT NULL DEFAULT false,
    problem text,
    created_at timestamp with time zone NOT NULL,
    planned_from timestamp with time zone NOT NULL,
    next_at timestamp with time zone,
    last_at timestamp with time zone,
    runs bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    last_state smallint,
    plain smallint NOT NULL DEFAULT 0,
    CONSTRAINT schedule_pkey PRIMARY KEY (name),
    CONSTRAINT schedule_instants CHECK (isfinite(created_at) AND isfinite(planned_from) AND isfinite(next_at) AND isfinite(last_at) AND isfinite(starts_at) AND isfinite(ends_at)) NOT VALID
) WITH (fillfactor=70);
CREATE INDEX schedule_due ON taskyard.schedule USING btree (next_at) WHERE (planned AND (NOT paused) AND (NOT ended) AND (problem IS NULL));
CREATE INDEX schedule_unplanned ON taskyard.schedule USING btree (name) WHERE ((NOT planned) AND (NOT paused) AND (problem IS NULL));
CREATE TRIGGER changed BEFORE INSERT OR UPDATE ON taskyard.schedule FOR EACH ROW EXECUTE FUNCTION taskyard.schedule_changed();

CREATE TABLE taskyard.schedule_run (
    sequence bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    schedule text COLLATE "C" NOT NULL,
    fire_at timestamp with time zone NOT NULL,
    until timestamp with time zone,
    count integer NOT NULL DEFAULT 1,
    outcome smallint NOT NULL,
    manual boolean NOT NULL DEFAULT false,
    open boolean NOT NULL DEFAULT false,
    task_id uuid,
    state smallint,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    error_type text,
    error_message text,
    CONSTRAINT schedule_run_pkey PRIMARY KEY (sequence),
    CONSTRAINT schedule_run_instants CHECK (isfinite(fire_at) AND isfinite(until) AND isfinite(created_at) AND isfinite(finished_at)) NOT VALID,
    CONSTRAINT schedule_run_schedule_fkey FOREIGN KEY (schedule) REFERENCES taskyard.schedule(name) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX schedule_run_of ON taskyard.schedule_run USING btree (schedule, sequence);
CREATE INDEX schedule_run_open ON taskyard.schedule_run USING btree (schedule, sequence) WHERE open;

CREATE TABLE taskyard.server (
    id uuid NOT NULL,
    beat bigint NOT NULL DEFAULT 0,
    lease_until timestamp with time zone NOT NULL,
    lease_ms bigint NOT NULL,
    dead_at timestamp with time zone,
    started_at timestamp with time zone NOT NULL,
    last_beat_at timestamp with time zone NOT NULL,
    pid bigint NOT NULL,
    timeline text NOT NULL,
    workers_max bigint NOT NULL,
    workers_active bigint NOT NULL DEFAULT 0,
    workers_idle bigint NOT NULL DEFAULT 0,
    tasks_running bigint NOT NULL DEFAULT 0,
    name text NOT NULL,
    version text NOT NULL,
    ends_held bigint NOT NULL DEFAULT 0,
    ends_held_reason text,
    builds integer[],
    queues text[],
    CONSTRAINT server_pkey PRIMARY KEY (id)
) WITH (fillfactor=50);

CREATE TABLE taskyard.setting (
    name text NOT NULL,
    value text NOT NULL,
    CONSTRAINT setting_pkey PRIMARY KEY (name)
);

CREATE TABLE taskyard.signal (
    server_id uuid NOT NULL,
    task_id uuid NOT NULL,
    token uuid NOT NULL,
    cancel boolean NOT NULL,
    CONSTRAINT signal_pkey PRIMARY KEY (server_id, task_id)
);

CREATE TABLE taskyard.task (
    id uuid NOT NULL,
    parent_id uuid,
    token uuid,
    server_id uuid,
    fallen_from uuid,
    order_number bigint NOT NULL,
    timeout_ms bigint,
    created_at timestamp with time zone NOT NULL,
    run_at timestamp with time zone,
    expires_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    priority integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    lost integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
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
    error_traceback text,
    cancel_reason text,
    added_by text,
    plain smallint NOT NULL DEFAULT 0,
    CONSTRAINT task_pkey PRIMARY KEY (id),
    CONSTRAINT task_instants CHECK (isfinite(run_at) AND isfinite(expires_at)) NOT VALID
) WITH (fillfactor=40, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_cost_delay=1, autovacuum_analyze_scale_factor=0.05);

CREATE TABLE taskyard.task_context (
    task_id uuid NOT NULL,
    context bytea NOT NULL,
    plain boolean NOT NULL DEFAULT false,
    CONSTRAINT task_context_pkey PRIMARY KEY (task_id)
) WITH (fillfactor=70);

CREATE TABLE taskyard.task_log (
    sequence bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    task_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    attempt integer NOT NULL,
    level smallint NOT NULL,
    logger text NOT NULL,
    message text NOT NULL,
    fields bytea,
    traceback text,
    CONSTRAINT task_log_pkey PRIMARY KEY (task_id, sequence)
);

CREATE TABLE taskyard.unique_key (
    key text NOT NULL,
    task_id uuid NOT NULL,
    until timestamp with time zone,
    CONSTRAINT unique_key_pkey PRIMARY KEY (key)
);
CREATE INDEX unique_key_until ON taskyard.unique_key USING btree (until) WHERE (until IS NOT NULL);

CREATE TABLE taskyard.waiting (
    task_id uuid NOT NULL,
    run_at timestamp with time zone,
    open_parents integer NOT NULL DEFAULT 0,
    reason smallint NOT NULL,
    runtime smallint NOT NULL,
    queue text NOT NULL,
    parked text,
    not_before timestamp with time zone,
    CONSTRAINT waiting_pkey PRIMARY KEY (task_id),
    CONSTRAINT waiting_instants CHECK (isfinite(run_at)) NOT VALID
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_cost_delay=0);
CREATE INDEX waiting_due ON taskyard.waiting USING btree (run_at) WHERE (reason = ANY (ARRAY[1, 2]));
CREATE INDEX waiting_parked ON taskyard.waiting USING btree (runtime, parked) WHERE (reason = 3);
CREATE INDEX waiting_unsettled ON taskyard.waiting USING btree (task_id) WHERE (reason = 4);

CREATE VIEW public.queued_task_attempts (
    queued_task_id uuid,
    number integer,
    server_id uuid,
    date_started timestamp with time zone,
    date_ended timestamp with time zone,
    outcome text,
    error_type text,
    error_message text,
    error_traceback text
) AS …;
COMMENT ON VIEW public.queued_task_attempts IS 'Taskyard';

CREATE VIEW public.queued_task_logs (
    id bigint,
    queued_task_id uuid,
    type text,
    message text,
    date_created timestamp with time zone,
    name text,
    attempt integer,
    fields json,
    traceback text
) AS …;
COMMENT ON VIEW public.queued_task_logs IS 'Taskyard';

CREATE VIEW public.queued_task_workers (
    id uuid,
    server_name text,
    max_workers bigint,
    active_workers bigint,
    idle_workers bigint,
    is_running boolean,
    last_heartbeat timestamp with time zone,
    date_started timestamp with time zone,
    running_tasks bigint,
    version text,
    pid bigint
) AS …;
COMMENT ON VIEW public.queued_task_workers IS 'Taskyard';

CREATE VIEW public.queued_tasks (
    id uuid,
    name text,
    state text,
    parent_task uuid,
    date_enqueued timestamp with time zone,
    date_started timestamp with time zone,
    date_done timestamp with time zone,
    queue text,
    priority integer,
    kind text,
    runtime text,
    attempt integer,
    failures integer,
    lost integer,
    crashes integer,
    args json,
    kwargs json,
    context json,
    result json,
    error text,
    error_type text,
    error_message text,
    error_traceback text,
    waiting_for text,
    date_run_at timestamp with time zone,
    date_expires timestamp with time zone,
    server_id uuid,
    unique_key text,
    tags text[],
    auto_remove boolean,
    at_most_once boolean,
    fallen_from uuid
) AS …;
COMMENT ON VIEW public.queued_tasks IS 'Taskyard';

CREATE FUNCTION taskyard.cascade_begin(p_tasks uuid[], p_kinds smallint[], p_budget integer, p_now timestamp with time zone,
        OUT edges integer, OUT woken integer) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/run.sql
CREATE FUNCTION taskyard.cascade_close(p_children uuid[], p_now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/close.sql
CREATE FUNCTION taskyard.cascade_each(p_task uuid, p_kind smallint, p_root uuid, p_children uuid[], p_now timestamp with time zone,
        p_until timestamp with time zone, OUT next uuid[], OUT woken integer, OUT ended integer, OUT told integer, OUT refused boolean,
        OUT last uuid) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/tell.sql
CREATE FUNCTION taskyard.cascade_fall(p_ids uuid[], p_state smallint, p_root uuid, p_now timestamp with time zone) RETURNS uuid[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/fall.sql
CREATE FUNCTION taskyard.cascade_revive(p_ids uuid[], p_now timestamp with time zone) RETURNS smallint[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/revive.sql
CREATE FUNCTION taskyard.cascade_run(p_tasks uuid[], p_kinds smallint[], p_roots uuid[], p_positions uuid[], p_budget integer,
        p_now timestamp with time zone, OUT edges integer, OUT woken integer, OUT ended integer, OUT more boolean) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/run.sql
CREATE FUNCTION taskyard.cascade_step(OUT tasks integer, OUT more boolean, OUT woken integer, OUT ended integer) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET plan_cache_mode = force_generic_plan SET lock_timeout = 50ms SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/step.sql
CREATE FUNCTION taskyard.cascade_tell(p_task uuid, p_kind smallint, p_root uuid, p_children uuid[], p_now timestamp with time zone,
        OUT next uuid[], OUT woken integer, OUT ended integer) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/tell.sql
CREATE FUNCTION taskyard.cascade_untold(p_task uuid, p_kind smallint, p_after uuid, p_limit integer) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/cascade/untold.sql
CREATE FUNCTION taskyard.check_instant(p_what text, p_at timestamp with time zone, p_now timestamp with time zone) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/clock/until.sql
CREATE FUNCTION taskyard.check_name(p_what text, p_name text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/setting/limits.sql
CREATE FUNCTION taskyard.check_nesting(p_what text, p_json json) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/setting/limits.sql
CREATE FUNCTION taskyard.check_size(p_what text, p_size integer, p_limit text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/setting/limits.sql
CREATE FUNCTION taskyard.check_text(p_what text, p_name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/setting/limits.sql
CREATE FUNCTION taskyard.claim_close(p_claims uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/claim/close.sql
CREATE FUNCTION taskyard.claim_held(p_server uuid, p_claims uuid[]) RETURNS TABLE(claim_id uuid, task_id uuid, token uuid)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET search_path = pg_catalog, pg_temp; -- src/sql/claim/held.sql
CREATE FUNCTION taskyard.claim_read(p_server uuid, p_claim uuid) RETURNS TABLE(id uuid, token uuid, kind text, name text, queue text,
        payload bytea, context bytea, attempt integer, failures integer, policy text, timeout_ms bigint, flags integer, priority integer,
        order_number bigint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/claim/read.sql
CREATE FUNCTION taskyard.claim_refused(p_server uuid, p_runtime smallint, p_queues text[]) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/claim/refused.sql
CREATE FUNCTION taskyard.clock_set(p_offset_us bigint, p_frozen_at timestamp with time zone) RETURNS void
    LANGUAGE sql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/clock/set.sql
CREATE FUNCTION taskyard.complete_in(task_id uuid, token uuid, result json DEFAULT 'null'::json) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp; -- src/sql/task/complete_in.sql
CREATE FUNCTION taskyard.complete_in_payload(p_task_id uuid, p_token uuid, p_result bytea) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp; -- src/sql/task/complete_in.sql
CREATE FUNCTION taskyard.dead_take(p_server uuid, p_runtime smallint, p_queues text[], p_limit integer,
        p_namespace text DEFAULT NULL::text) RETURNS SETOF uuid
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/dead/take.sql
CREATE FUNCTION taskyard.dead_told(p_server uuid, p_ids uuid[], p_told boolean) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/dead/told.sql
CREATE FUNCTION taskyard.enqueue(kind text, args json DEFAULT '[]'::json, kwargs json DEFAULT '{}'::json,
        queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval,
        run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, parents uuid[] DEFAULT '{}'::uuid[],
        max_retries integer DEFAULT 3, timeout interval DEFAULT '00:05:00'::interval, unique_key text DEFAULT NULL::text,
        runtime text DEFAULT 'rust'::text, name text DEFAULT NULL::text, context json DEFAULT NULL::json,
        on_parent_failure text DEFAULT 'fail'::text, expires interval DEFAULT NULL::interval, tags text[] DEFAULT NULL::text[],
        auto_remove boolean DEFAULT false, at_most_once boolean DEFAULT false, id uuid DEFAULT NULL::uuid) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp; -- src/sql/task/enqueue.sql
CREATE FUNCTION taskyard.enqueue_payload(p_id uuid, p_kind text, p_payload bytea, p_context bytea, p_runtime smallint, p_name text,
        p_queue text, p_priority integer, p_policy text, p_timeout_ms bigint, p_after_us bigint, p_run_at timestamp with time zone,
        p_expires_us bigint, p_parents uuid[], p_on_failure smallint, p_key text, p_hold smallint, p_key_for_us bigint, p_tags text[],
        p_auto_remove boolean, p_at_most_once boolean, p_plain smallint DEFAULT 0) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
        SET jit = off; -- src/sql/task/enqueue.sql
CREATE FUNCTION taskyard.interval_micros(p_what text, p_interval interval) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/clock/until.sql
CREATE FUNCTION taskyard.json_levels(p_json json, p_max integer) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/setting/limits.sql
CREATE FUNCTION taskyard.kind_groups(p_runtimes smallint[], p_kinds text[]) RETURNS integer[]
    LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/groups.sql
CREATE FUNCTION taskyard.kind_groups_of(p_ids uuid[]) RETURNS integer[]
    LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/groups.sql
CREATE FUNCTION taskyard.kind_has_server(p_runtime smallint, p_queue text, p_refused integer[]) RETURNS boolean
    LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/groups.sql
CREATE FUNCTION taskyard.kind_hold(p_groups integer[]) RETURNS integer[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/groups.sql
CREATE FUNCTION taskyard.kind_lock() RETURNS void
    LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/groups.sql
CREATE FUNCTION taskyard.kind_refuse(p_ids uuid[], p_tokens uuid[], p_codes smallint[], p_types text[]) RETURNS smallint[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/refuse.sql
CREATE FUNCTION taskyard.kind_regroup(p_limit integer, OUT tasks integer, OUT parked integer, OUT groups integer,
        OUT more boolean) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/kind/regroup.sql
CREATE FUNCTION taskyard.kind_try_lock() RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/groups.sql
CREATE FUNCTION taskyard.limit_of(p_name text) RETURNS integer
    LANGUAGE sql STABLE SECURITY INVOKER; -- src/sql/setting/limits.sql
CREATE FUNCTION taskyard.limits_set(p_names text[], p_values text[]) RETURNS void
    LANGUAGE sql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/setting/limits.sql
CREATE FUNCTION taskyard.micros_until(p_at timestamp with time zone, p_now timestamp with time zone) RETURNS bigint
    LANGUAGE sql IMMUTABLE SECURITY INVOKER; -- src/sql/clock/until.sql
CREATE FUNCTION taskyard.now() RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE SECURITY INVOKER; -- src/sql/clock/now.sql
CREATE FUNCTION taskyard.prune_place(p_name text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/prune_surplus.sql
CREATE FUNCTION taskyard.prune_place_set(p_name text, p_after uuid, p_ids uuid[], p_done integer) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/prune_surplus.sql
CREATE FUNCTION taskyard.queue_age(p_limit integer, OUT tasks integer, OUT more boolean, OUT due_us bigint) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
        SET enable_mergejoin = off SET jit = off SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/queue/age.sql
CREATE FUNCTION taskyard.queue_configure(p_queue text, p_paused boolean, p_limit bigint, p_apart boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/queue/configure.sql
CREATE FUNCTION taskyard.queue_free(p_queue text) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/queue/free.sql
CREATE FUNCTION taskyard.queue_room(p_queue text) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/queue/free.sql
CREATE FUNCTION taskyard.queue_set_ageing(p_queue text, p_every_us bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/queue/set_ageing.sql
CREATE FUNCTION taskyard.queue_set_apart(p_queues text[], p_limit integer) RETURNS TABLE(moved integer, more boolean)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/queue/set_apart.sql
CREATE FUNCTION taskyard.queue_set_rate(p_queue text, p_count integer, p_us bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/queue/rate.sql
CREATE FUNCTION taskyard.queue_settle(p_queue text, p_limit integer) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/queue/settle.sql
CREATE FUNCTION taskyard.queue_stamp(p_queue text, p_lane integer, p_rank integer, p_order bigint, p_limit integer, OUT seen integer,
        OUT rank integer, OUT order_number bigint) RETURNS record
    LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/queue/set_ageing.sql
CREATE FUNCTION taskyard.queue_stamp_lane(p_queue text, p_lane bigint, p_rank integer, p_order bigint, p_limit integer, OUT seen integer,
        OUT rank integer, OUT order_number bigint) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_bitmapscan = off
        SET search_path = pg_catalog, pg_temp; -- src/sql/queue/set_ageing.sql
CREATE FUNCTION taskyard.queue_unstamp(p_queue text, p_limit integer) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET search_path = pg_catalog, pg_temp; -- src/sql/queue/set_ageing.sql
CREATE FUNCTION taskyard.rate_due(OUT freed boolean, OUT due_us bigint) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/queue/rate.sql
CREATE FUNCTION taskyard.rate_free(p_count integer, p_us bigint, p_full_at timestamp with time zone,
        p_now timestamp with time zone) RETURNS integer
    LANGUAGE sql IMMUTABLE SECURITY INVOKER; -- src/sql/queue/rate.sql
CREATE FUNCTION taskyard.rate_missing(p_us bigint, p_full_at timestamp with time zone, p_now timestamp with time zone) RETURNS numeric
    LANGUAGE sql IMMUTABLE SECURITY INVOKER; -- src/sql/queue/rate.sql
CREATE FUNCTION taskyard.rate_spend(p_claim uuid, p_now timestamp with time zone) RETURNS void
    LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/queue/rate.sql
CREATE FUNCTION taskyard.ready_choose_of(p_runtime smallint, p_queues text[], p_limit integer, p_alone boolean, p_rank integer,
        p_order bigint, p_groups integer[]) RETURNS taskyard.candidate[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/ready/choose.sql
CREATE FUNCTION taskyard.ready_compare(p_after uuid, p_limit integer, p_repair boolean, OUT seen integer, OUT missing integer,
        OUT repaired integer, OUT last uuid) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET lock_timeout = 1s
        SET search_path = pg_catalog, pg_temp; -- src/sql/ready/compare.sql
CREATE FUNCTION taskyard.ready_compared() RETURNS void
    LANGUAGE sql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/ready/compare.sql
CREATE FUNCTION taskyard.ready_home() RETURNS text
    LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/ready/compare.sql
CREATE FUNCTION taskyard.ready_insert(p_ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/ready/insert.sql
CREATE FUNCTION taskyard.ready_lanes(p_lanes integer[]) RETURNS bigint[]
    LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/kind/groups.sql
CREATE FUNCTION taskyard.ready_missing(p_ids uuid[]) RETURNS uuid[]
    LANGUAGE sql STABLE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET search_path = pg_catalog, pg_temp; -- src/sql/ready/compare.sql
CREATE FUNCTION taskyard.ready_repair(p_ids uuid[]) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/ready/compare.sql
CREATE FUNCTION taskyard.ready_sample() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET jit = off SET search_path = pg_catalog, pg_temp; -- src/sql/ready/compare.sql
CREATE FUNCTION taskyard.ready_suspect() RETURNS boolean
    LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/ready/compare.sql
CREATE FUNCTION taskyard.ready_turn_over(p_size bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 50ms SET search_path = pg_catalog, pg_temp; -- src/sql/ready/turn.sql
CREATE FUNCTION taskyard.schedule_add(name text, rule text, kind text, args json DEFAULT '[]'::json, kwargs json DEFAULT '{}'::json,
        zone text DEFAULT 'UTC'::text, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, overlap text DEFAULT 'skip'::text,
        catch_up text DEFAULT 'one'::text, catch_up_window interval DEFAULT '1 day'::interval, jitter interval DEFAULT '00:00:00'::interval,
        starts_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
        ends_at timestamp with time zone DEFAULT NULL::timestamp with time zone, runs_max integer DEFAULT NULL::integer,
        pause_after_failures integer DEFAULT NULL::integer, max_retries integer DEFAULT 3, timeout interval DEFAULT '00:05:00'::interval,
        runtime text DEFAULT 'rust'::text, on_conflict text DEFAULT 'replace'::text) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/sql.sql
CREATE FUNCTION taskyard.schedule_changed() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/changed.sql
CREATE FUNCTION taskyard.schedule_pause(name text, paused boolean DEFAULT true) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/put.sql
CREATE FUNCTION taskyard.schedule_put(p_name text, p_rule text, p_zone text, p_kind text, p_runtime smallint, p_queue text,
        p_priority integer, p_payload bytea, p_options text, p_overlap smallint, p_catch_up smallint, p_catch_up_window_us bigint,
        p_jitter_us bigint, p_starts_at timestamp with time zone, p_ends_at timestamp with time zone, p_runs_max bigint,
        p_pause_after_failures bigint, p_conflict integer, p_plain smallint DEFAULT 0) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/put.sql
CREATE FUNCTION taskyard.schedule_record(p_runs json, p_settled json, p_released json, p_dropped bigint[], p_kept bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/record.sql
CREATE FUNCTION taskyard.schedule_remove(name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/put.sql
CREATE FUNCTION taskyard.schedule_resume(name text) RETURNS boolean
    LANGUAGE sql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/put.sql
CREATE FUNCTION taskyard.schedule_run_now(name text) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/schedule/sql.sql
CREATE FUNCTION taskyard.server_beat(p_id uuid, p_lease_ms bigint, p_workers_max bigint, p_active bigint, p_idle bigint,
        p_running bigint) RETURNS TABLE(task_id uuid, token uuid, cancel boolean)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/server/beat.sql
CREATE FUNCTION taskyard.server_enter(p_id uuid, p_name text, p_pid bigint, p_version text, p_lease_ms bigint,
        p_workers_max bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/server/enter.sql
CREATE FUNCTION taskyard.server_enter_as(p_id uuid, p_name text, p_pid bigint, p_version text, p_lease_ms bigint, p_workers_max bigint,
        p_runtimes smallint[], p_fingerprints text[], p_queues text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/server/enter.sql
CREATE FUNCTION taskyard.server_leave(p_id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/server/leave.sql
CREATE FUNCTION taskyard.server_rescue(p_id uuid, p_beat bigint, p_overdue boolean, OUT tasks integer, OUT more boolean, OUT woken integer,
        OUT ended integer) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan SET lock_timeout = 1s
        SET search_path = pg_catalog, pg_temp; -- src/sql/server/rescue.sql
CREATE FUNCTION taskyard.server_serve(p_id uuid, p_runtimes smallint[], p_fingerprints text[], p_queues text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/server/enter.sql
CREATE FUNCTION taskyard.set_back(p_is_refused boolean) RETURNS interval
    LANGUAGE sql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/each.sql
CREATE FUNCTION taskyard.setting_notifies() RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/setting/notify.sql
CREATE FUNCTION taskyard.setting_notify() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/setting/notify.sql
CREATE FUNCTION taskyard.shown(p_bytes bytea) RETURNS json
    LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/view/shown.sql
CREATE FUNCTION taskyard.shown_member(p_bytes bytea, p_name text) RETURNS json
    LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/view/shown.sql
CREATE FUNCTION taskyard.shown_state(p_state smallint) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SECURITY INVOKER; -- src/sql/view/shown.sql
CREATE FUNCTION taskyard.task_add(p_ids uuid[], p_kinds text[], p_runtimes smallint[], p_names text[], p_queues text[],
        p_priorities integer[], p_payloads bytea[], p_contexts bytea[], p_policies text[], p_timeouts bigint[], p_after_us bigint[],
        p_run_ats timestamp with time zone[], p_expires_us bigint[], p_keys text[], p_holds smallint[], p_flags integer[], p_tags text[],
        p_on_failures smallint[], p_initial smallint[], p_open integer[], p_fallen uuid[], p_first_parents uuid[], p_edge_parents uuid[],
        p_edge_children uuid[], p_edge_places integer[], p_edge_open boolean[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/task/add.sql
CREATE FUNCTION taskyard.task_add_as(p_addition uuid, p_ids uuid[], p_kinds text[], p_runtimes smallint[], p_names text[], p_queues text[],
        p_priorities integer[], p_payloads bytea[], p_contexts bytea[], p_policies text[], p_timeouts bigint[], p_after_us bigint[],
        p_run_ats timestamp with time zone[], p_expires_us bigint[], p_keys text[], p_holds smallint[], p_flags integer[], p_tags text[],
        p_on_failures smallint[], p_initial smallint[], p_open integer[], p_fallen uuid[], p_first_parents uuid[], p_edge_parents uuid[],
        p_edge_children uuid[], p_edge_places integer[], p_edge_open boolean[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp; -- src/sql/task/add.sql
CREATE FUNCTION taskyard.task_added(p_addition uuid, p_ids uuid[]) RETURNS SETOF uuid
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/added.sql
CREATE FUNCTION taskyard.task_cancel(p_ids uuid[]) RETURNS TABLE(place integer, reply smallint, state smallint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET plan_cache_mode = force_generic_plan SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/cancel.sql
CREATE FUNCTION taskyard.task_cancel_because(p_ids uuid[], p_reason text) RETURNS TABLE(place integer, reply smallint, state smallint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/cancel_because.sql
CREATE FUNCTION taskyard.task_change(p_change text, p_ids uuid[], p_now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/each.sql
CREATE FUNCTION taskyard.task_claim(p_server uuid, p_claim uuid, p_runtime smallint, p_queues text[], p_limit integer, p_alone boolean,
        p_rank integer, p_order bigint, p_tokens uuid[] DEFAULT NULL::uuid[]) RETURNS TABLE(id uuid, token uuid, kind text, name text,
        queue text, payload bytea, context bytea, attempt integer, failures integer, policy text, timeout_ms bigint, flags integer,
        priority integer, order_number bigint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan SET lock_timeout = 1s
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/claim.sql
CREATE FUNCTION taskyard.task_claim_around(p_server uuid, p_claim uuid, p_runtime smallint, p_queues text[], p_limit integer,
        p_alone boolean, p_rank integer, p_order bigint, p_tokens uuid[] DEFAULT NULL::uuid[]) RETURNS TABLE(id uuid, token uuid, kind text,
        name text, queue text, payload bytea, context bytea, attempt integer, failures integer, policy text, timeout_ms bigint,
        flags integer, priority integer, order_number bigint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/claim.sql
CREATE FUNCTION taskyard.task_detach(p_ids uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET search_path = pg_catalog, pg_temp; -- src/sql/task/detach.sql
CREATE FUNCTION taskyard.task_each(p_change text, p_ids uuid[], p_now timestamp with time zone, OUT done integer, OUT locked uuid[],
        OUT refused uuid[], OUT untried uuid[], OUT reason text) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 50ms SET search_path = pg_catalog, pg_temp; -- src/sql/task/each.sql
CREATE FUNCTION taskyard.task_edit(p_id uuid, p_seen bytea, p_payload bytea, p_queue text, p_priority integer, p_max_retries bigint,
        p_plain boolean DEFAULT false, OUT reply smallint, OUT state smallint) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/edit.sql
CREATE FUNCTION taskyard.task_ended(p_ids uuid[], p_now timestamp with time zone) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/ended.sql
CREATE FUNCTION taskyard.task_ends(p_ids uuid[]) RETURNS TABLE(id uuid, state smallint, result bytea, error_type text, error_message text,
        error_traceback text, encoded boolean)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET jit = off
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/finals.sql
CREATE FUNCTION taskyard.task_expire(p_ids uuid[], p_now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/expire.sql
CREATE FUNCTION taskyard.task_expire_these(p_ids uuid[], p_now timestamp with time zone) RETURNS uuid[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/expire.sql
CREATE FUNCTION taskyard.task_figures(OUT by_state bigint[], OUT servers bigint, OUT oldest_us bigint, OUT parked bigint,
        OUT estimated integer[]) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET jit = off SET search_path = pg_catalog, pg_temp; -- src/sql/task/status.sql
CREATE FUNCTION taskyard.task_finals(p_ids uuid[]) RETURNS TABLE(id uuid, state smallint, result bytea, error_type text, error_message text,
        error_traceback text)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET jit = off
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/finals.sql
CREATE FUNCTION taskyard.task_finish(p_ids uuid[], p_tokens uuid[], p_codes smallint[], p_results bytea[], p_after_us bigint[],
        p_types text[], p_messages text[], p_traces text[], p_contexts bytea[], p_log_ids uuid[], p_log_tokens uuid[],
        p_log_levels smallint[], p_log_loggers text[], p_log_messages text[], p_log_fields bytea[], p_log_traces text[],
        p_closed uuid[]) RETURNS TABLE(place integer, reply smallint, state smallint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/finish.sql
CREATE FUNCTION taskyard.task_finish_done(p_ids uuid[], p_tokens uuid[], p_results bytea[], p_closed uuid[]) RETURNS TABLE(place integer,
        reply smallint, state smallint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/finish_done.sql
CREATE FUNCTION taskyard.task_free(p_ids uuid[], p_deletes boolean) RETURNS uuid[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/each.sql
CREATE FUNCTION taskyard.task_is_leaf(p_id uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY INVOKER; -- src/sql/task/prune_surplus.sql
CREATE FUNCTION taskyard.task_lock(p_id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/ready/choose.sql
CREATE FUNCTION taskyard.task_lock_parents(p_ids uuid[]) RETURNS TABLE(id uuid, state smallint, fallen_from uuid)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET search_path = pg_catalog, pg_temp; -- src/sql/task/lock_parents.sql
CREATE FUNCTION taskyard.task_lose(p_ids uuid[], p_now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/server/rescue.sql
CREATE FUNCTION taskyard.task_postpone(p_ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/set_aside.sql
CREATE FUNCTION taskyard.task_promote(OUT enqueued integer, OUT expired integer, OUT removed integer, OUT more boolean,
        OUT due_us bigint) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET plan_cache_mode = force_generic_plan SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/task/promote.sql
CREATE FUNCTION taskyard.task_prune(p_done_us bigint, p_failed_us bigint, OUT tasks integer, OUT more boolean) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/task/prune.sql
CREATE FUNCTION taskyard.task_prune_surplus(p_done_max bigint, p_failed_max bigint, OUT tasks integer, OUT more boolean) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET lock_timeout = 1s
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/prune_surplus.sql
CREATE FUNCTION taskyard.task_purge(p_ids uuid[]) RETURNS uuid[]
    LANGUAGE sql VOLATILE SECURITY INVOKER SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/purge.sql
CREATE FUNCTION taskyard.task_purge_now(p_ids uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/purge.sql
CREATE FUNCTION taskyard.task_record(p_ids uuid[], p_tokens uuid[], p_contexts bytea[], p_log_ids uuid[], p_log_tokens uuid[],
        p_log_levels smallint[], p_log_loggers text[], p_log_messages text[], p_log_fields bytea[],
        p_log_traces text[]) RETURNS TABLE(place integer, reply smallint, state smallint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/record.sql
CREATE FUNCTION taskyard.task_refuse_left(p_ids uuid[], p_state smallint, p_message text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/set_aside.sql
CREATE FUNCTION taskyard.task_refuse_skipped(p_ids uuid[], p_tokens uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/finish_done.sql
CREATE FUNCTION taskyard.task_retry(p_ids uuid[]) RETURNS TABLE(place integer, reply smallint, state smallint)
    LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/retry.sql
CREATE FUNCTION taskyard.task_retry_unique(p_ids uuid[]) RETURNS TABLE(place integer, reply smallint, state smallint, holder uuid)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET plan_cache_mode = force_generic_plan SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/retry.sql
CREATE FUNCTION taskyard.task_set_aside(p_ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/set_aside.sql
CREATE FUNCTION taskyard.task_set_priority(p_ids uuid[], p_priority integer) RETURNS TABLE(place integer, reply smallint, state smallint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/set_priority.sql
CREATE FUNCTION taskyard.task_start(p_ids uuid[]) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/promote.sql
CREATE FUNCTION taskyard.task_status(OUT by_state bigint[], OUT servers bigint, OUT oldest_us bigint, OUT parked bigint) RETURNS record
    LANGUAGE sql VOLATILE SECURITY INVOKER SET jit = off SET search_path = pg_catalog, pg_temp; -- src/sql/task/status.sql
CREATE FUNCTION taskyard.task_stop(p_ids uuid[]) RETURNS TABLE(place integer, reply smallint, state smallint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 5s SET search_path = pg_catalog, pg_temp; -- src/sql/task/stop.sql
CREATE FUNCTION taskyard.task_unlocked(p_ids uuid[]) RETURNS TABLE(id uuid)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
        SET enable_bitmapscan = off SET jit = off SET lock_timeout = 20ms
        SET search_path = pg_catalog, pg_temp; -- src/sql/task/unlocked.sql
CREATE FUNCTION taskyard.timeline() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/server/timeline.sql
CREATE FUNCTION taskyard.unique_key_release(p_ids uuid[], p_started boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/unique_key/release.sql
CREATE FUNCTION taskyard.unique_key_retake(p_id uuid, p_now timestamp with time zone) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/unique_key/take.sql
CREATE FUNCTION taskyard.unique_key_take(p_keys text[], p_ids uuid[], p_for_us bigint[]) RETURNS TABLE(key text, task_id uuid)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/unique_key/take.sql
CREATE FUNCTION taskyard.upkeep_refused(p_reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/each.sql
CREATE FUNCTION taskyard.uuid7() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE SECURITY INVOKER SET search_path = pg_catalog, pg_temp; -- src/sql/task/uuid7.sql
CREATE FUNCTION taskyard.uuid7_from(p_at timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SECURITY INVOKER; -- src/sql/task/uuid7.sql
CREATE FUNCTION taskyard.waiting_parked(p_runtime smallint) RETURNS TABLE(reason text, count bigint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
        SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp; -- src/sql/waiting/parked.sql
CREATE FUNCTION taskyard.waiting_settle(OUT tasks integer, OUT more boolean, OUT woken integer, OUT ended integer) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 50ms SET search_path = pg_catalog, pg_temp; -- src/sql/waiting/settle.sql
CREATE FUNCTION taskyard.waiting_unpark(p_runtime smallint, p_reason text, OUT tasks integer, OUT more boolean) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
        SET lock_timeout = 1s SET search_path = pg_catalog, pg_temp; -- src/sql/waiting/unpark.sql

-- The owner has all privileges. Other roles have these:
GRANT EXECUTE ON FUNCTION taskyard.shown(bytea) TO PUBLIC;
GRANT EXECUTE ON FUNCTION taskyard.shown_member(bytea,text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION taskyard.shown_state(smallint) TO PUBLIC;
GRANT USAGE ON TYPE taskyard.candidate TO PUBLIC;
