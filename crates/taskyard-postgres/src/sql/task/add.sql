-- Adds one batch. Arrays that are null throughout the batch are null themselves. What a task starts as was decided by
-- the caller, who has locked the parents: p_initial null or 0 = free to start, 1 = waits for p_open parents, 5 and 6 =
-- has fallen with p_fallen already. The caller has taken the unique keys.
--
-- flags: 1 auto_remove, 2 at_most_once, 4 has children in this batch, 8 holds its unique key no longer (it has fallen),
-- 16 its payload is plain JSON, 32 its context is.
--
-- p_addition names this try (null: nobody will ask for it). The lock and the check behind it make sure that an addition that
-- was asked back (task_added) and found missing stores nothing when it arrives late.
CREATE OR REPLACE FUNCTION taskyard.task_add_as(
    p_addition uuid, p_ids uuid[], p_kinds text[], p_runtimes smallint[], p_names text[], p_queues text[], p_priorities int[],
    p_payloads bytea[], p_contexts bytea[], p_policies text[], p_timeouts bigint[], p_after_us bigint[],
    p_run_ats timestamptz[], p_expires_us bigint[], p_keys text[], p_holds smallint[], p_flags int[], p_tags text[],
    p_on_failures smallint[], p_initial smallint[], p_open int[], p_fallen uuid[], p_first_parents uuid[],
    p_edge_parents uuid[], p_edge_children uuid[], p_edge_places int[], p_edge_open boolean[]
) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_base bigint := nextval('taskyard.batch_number') << 20;
    v_names text[];
    v_lanes int[];
    v_ages bigint[];
    v_groups int[];
    v_locked boolean;
    v_refused boolean;
    v_has_lanes boolean;
    v_has_kinds boolean;
BEGIN
    -- An expression needs no statement; PERFORM would be one.
    v_locked := p_addition IS NULL OR pg_advisory_xact_lock(uuid_hash_extended(p_addition, 0)) IS NOT NULL;
    -- One statement, behind the lock; mostly it finds nothing but the time, which it reads as taskyard.now() does.
    SELECT coalesce((SELECT coalesce(c.frozen_at, clock_timestamp() + c.offset_us * interval '1 microsecond')
            FROM taskyard.clock c), clock_timestamp()),
        EXISTS (SELECT FROM taskyard.refused f WHERE f.id = p_addition),
        EXISTS (SELECT FROM taskyard.queue q WHERE q.lane <> 0 OR q.draining), EXISTS (SELECT FROM taskyard.kind)
    INTO v_now, v_refused, v_has_lanes, v_has_kinds;
    -- What is rare stands within one IF: each expression is prepared anew in each transaction.
    IF v_refused OR v_has_lanes OR v_has_kinds THEN
        IF v_refused THEN
            RAISE EXCEPTION 'taskyard: this addition was revoked before it arrived' USING ERRCODE = 'TY002';
        END IF;
        IF v_has_lanes THEN
            -- KEY SHARE: see ready_insert.
            SELECT array_agg(l.name), array_agg(l.lane), array_agg(l.ageing_us) INTO v_names, v_lanes, v_ages FROM (
                SELECT q.name, q.lane, q.ageing_us FROM taskyard.queue q
                WHERE q.lane <> 0 AND q.name IN (SELECT unnest(p_queues)) FOR KEY SHARE OF q) l;
        END IF;
        IF v_has_kinds THEN
            v_groups := taskyard.kind_groups(p_runtimes, p_kinds);
        END IF;
    END IF;
    IF p_after_us IS NULL AND p_run_ats IS NULL AND p_initial IS NULL AND cardinality(p_ids) = 1 THEN
        -- A single task, as a web request adds it. Plain inserts need neither unnest nor a join: 0.38 ms instead of 0.41 in the
        -- server's log of a pick-up, 0.94 instead of 1.12 with pgbench.
        INSERT INTO taskyard.task (id, order_number, timeout_ms, created_at, expires_at, priority, runtime, state,
            on_parent_failure, unique_hold, has_context, at_most_once, auto_remove, kind, name, queue, unique_key, policy,
            tags, plain, payload)
        VALUES (p_ids[1], v_base + 1, p_timeouts[1], v_now, v_now + p_expires_us[1] * interval '1 microsecond',
            p_priorities[1], p_runtimes[1], 1, coalesce(p_on_failures[1], 0), p_holds[1], p_contexts[1] IS NOT NULL,
            coalesce(p_flags[1] & 2, 0) <> 0, coalesce(p_flags[1] & 1, 0) <> 0, p_kinds[1], p_names[1], p_queues[1],
            p_keys[1], p_policies[1], p_tags[1]::text[], (coalesce(p_flags[1], 0) >> 4 & 1)::smallint, p_payloads[1]);
        INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn, ages_at)
        VALUES (v_base + 1, p_ids[1], (coalesce(v_groups[1], 0)::bigint << 32) + coalesce(v_lanes[1], 0) + p_runtimes[1],
            ~p_priorities[1], p_queues[1], (SELECT o.turn FROM taskyard.ready_turn o),
            v_now + v_ages[1] * interval '1 microsecond');
    ELSIF p_after_us IS NULL AND p_run_ats IS NULL AND p_initial IS NULL THEN
        INSERT INTO taskyard.task (id, order_number, timeout_ms, created_at, expires_at, priority, runtime, state,
            on_parent_failure, unique_hold, has_context, at_most_once, auto_remove, kind, name, queue, unique_key, policy,
            tags, plain, payload)
        SELECT u.id, v_base + u.place, u.timeout, v_now, v_now + u.expires * interval '1 microsecond', u.priority,
            u.runtime, 1, coalesce(u.on_failure, 0), u.hold, u.context IS NOT NULL, coalesce(u.flags & 2, 0) <> 0,
            coalesce(u.flags & 1, 0) <> 0, u.kind, u.name, u.queue, u.key, u.policy, u.tags::text[],
            (coalesce(u.flags, 0) >> 4 & 1)::smallint, u.payload
        FROM unnest(p_ids, p_kinds, p_runtimes, p_names, p_queues, p_priorities, p_payloads, p_contexts, p_policies,
                p_timeouts, p_expires_us, p_keys, p_holds, p_flags, p_tags, p_on_failures)
            WITH ORDINALITY AS u(id, kind, runtime, name, queue, priority, payload, context, policy, timeout, expires,
                key, hold, flags, tags, on_failure, place);
        INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn, ages_at)
        SELECT v_base + u.place, u.id, (coalesce(u.group_id, 0)::bigint << 32) + coalesce(l.lane, 0) + u.runtime, ~u.priority, u.queue,
            (SELECT o.turn FROM taskyard.ready_turn o), v_now + l.ageing * interval '1 microsecond'
        FROM unnest(p_ids, p_runtimes, p_priorities, p_queues, v_groups)
                WITH ORDINALITY AS u(id, runtime, priority, queue, group_id, place)
            LEFT JOIN unnest(v_names, v_lanes, v_ages) AS l(name, lane, ageing) ON l.name = u.queue;
    ELSE
        WITH n AS MATERIALIZED (
            SELECT u.*, s.at, CASE WHEN coalesce(u.initial, 0) IN (5, 6) THEN u.initial
                WHEN u.initial = 1 OR s.at > v_now THEN 0::smallint ELSE 1::smallint END AS state
            FROM unnest(p_ids, p_kinds, p_runtimes, p_names, p_queues, p_priorities, p_payloads, p_contexts, p_policies,
                    p_timeouts, p_after_us, p_run_ats, p_expires_us, p_keys, p_holds, p_flags, p_tags, p_on_failures,
                    p_initial, p_open, p_fallen, p_first_parents, v_groups)
                WITH ORDINALITY AS u(id, kind, runtime, name, queue, priority, payload, context, policy, timeout,
                    after_us, run_at, expires, key, hold, flags, tags, on_failure, initial, open, fallen, first_parent,
                    group_id, place)
            CROSS JOIN LATERAL (SELECT coalesce(u.run_at, v_now + u.after_us * interval '1 microsecond') AS at) s
        ), t AS (
            INSERT INTO taskyard.task (id, parent_id, fallen_from, order_number, timeout_ms, created_at, run_at,
                expires_at, finished_at, priority, runtime, state, on_parent_failure, unique_hold, has_children,
                has_parents, has_context, at_most_once, auto_remove, kind, name, queue, unique_key, policy, tags,
                plain, payload, error_type, error_message)
            SELECT n.id, n.first_parent, n.fallen, v_base + n.place, n.timeout, v_now, n.at,
                v_now + n.expires * interval '1 microsecond', CASE WHEN n.state IN (5, 6) THEN v_now END, n.priority,
                n.runtime, n.state, coalesce(n.on_failure, 0), n.hold, coalesce(n.flags & 4, 0) <> 0,
                n.first_parent IS NOT NULL, n.context IS NOT NULL, coalesce(n.flags & 2, 0) <> 0,
                coalesce(n.flags & 1, 0) <> 0, n.kind, n.name, n.queue, n.key, n.policy, n.tags::text[],
                (coalesce(n.flags, 0) >> 4 & 1)::smallint, n.payload,
                CASE n.state WHEN 5 THEN 'ParentTaskFailed' WHEN 6 THEN 'ParentTaskCancelled' END,
                CASE n.state WHEN 5 THEN 'parent task ' || n.fallen || ' failed'
                    WHEN 6 THEN 'parent task ' || n.fallen || ' was cancelled' END
            FROM n
        ), r AS (
            INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn, ages_at)
            SELECT v_base + n.place, n.id, (coalesce(n.group_id, 0)::bigint << 32) + coalesce(l.lane, 0) + n.runtime, ~n.priority, n.queue,
                (SELECT o.turn FROM taskyard.ready_turn o), v_now + l.ageing * interval '1 microsecond'
            FROM n LEFT JOIN unnest(v_names, v_lanes, v_ages) AS l(name, lane, ageing) ON l.name = n.queue WHERE n.state = 1
        ), d AS (
            INSERT INTO taskyard.dead (task_id, at) SELECT n.id, v_now FROM n WHERE n.state = 5
        ), a AS (
            INSERT INTO taskyard.deadline (at, task_id, what)
            SELECT v_now + interval '60 s', n.id, 1 FROM n WHERE n.state IN (5, 6) AND coalesce(n.flags & 1, 0) <> 0
        )
        INSERT INTO taskyard.waiting (task_id, run_at, open_parents, reason, runtime, queue)
        SELECT n.id, n.at, coalesce(n.open, 0), CASE WHEN n.initial = 1 THEN 0 ELSE 1 END, n.runtime, n.queue
        FROM n WHERE n.state = 0;
    END IF;
    IF p_expires_us IS NULL AND p_contexts IS NULL AND p_edge_parents IS NULL THEN
        RETURN;
    END IF;
    IF p_expires_us IS NOT NULL THEN
        INSERT INTO taskyard.deadline (at, task_id, what)
        SELECT v_now + u.expires * interval '1 microsecond', u.id, 0
        FROM unnest(p_ids, p_expires_us, p_initial) AS u(id, expires, initial)
        WHERE u.expires IS NOT NULL AND coalesce(u.initial, 0) NOT IN (5, 6);
    END IF;
    IF p_contexts IS NOT NULL THEN
        INSERT INTO taskyard.task_context (task_id, context, plain)
        SELECT u.id, u.context, coalesce(u.flags & 32, 0) <> 0
        FROM unnest(p_ids, p_contexts, p_flags) AS u(id, context, flags) WHERE u.context IS NOT NULL;
    END IF;
    IF p_edge_parents IS NOT NULL THEN
        INSERT INTO taskyard.edge (parent_id, child_id, place, open)
        SELECT * FROM unnest(p_edge_parents, p_edge_children, p_edge_places, p_edge_open);
        -- Parents of this batch carry their flag already.
        UPDATE taskyard.task t SET has_children = true
        FROM (SELECT DISTINCT u.id FROM unnest(p_edge_parents) AS u(id) ORDER BY 1) p
        WHERE t.id = p.id AND NOT t.has_children;
    END IF;
END
$$;

-- For programs of an earlier version.
CREATE OR REPLACE FUNCTION taskyard.task_add(
    p_ids uuid[], p_kinds text[], p_runtimes smallint[], p_names text[], p_queues text[], p_priorities int[],
    p_payloads bytea[], p_contexts bytea[], p_policies text[], p_timeouts bigint[], p_after_us bigint[],
    p_run_ats timestamptz[], p_expires_us bigint[], p_keys text[], p_holds smallint[], p_flags int[], p_tags text[],
    p_on_failures smallint[], p_initial smallint[], p_open int[], p_fallen uuid[], p_first_parents uuid[],
    p_edge_parents uuid[], p_edge_children uuid[], p_edge_places int[], p_edge_open boolean[]
) RETURNS void LANGUAGE plpgsql SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM taskyard.task_add_as(NULL, p_ids, p_kinds, p_runtimes, p_names, p_queues, p_priorities, p_payloads, p_contexts,
        p_policies, p_timeouts, p_after_us, p_run_ats, p_expires_us, p_keys, p_holds, p_flags, p_tags, p_on_failures,
        p_initial, p_open, p_fallen, p_first_parents, p_edge_parents, p_edge_children, p_edge_places, p_edge_open);
END
$$;
