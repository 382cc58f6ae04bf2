-- Claims up to p_limit tasks that are runnable now, in order of rank (= ~priority) and order number after the place
-- (p_rank, p_order). A row whose id is null is a notice: flags 8 = this server's lease is over, 16 = a task that must
-- run alone is waiting. In the others: 1 has parents, 2 expired, 4 alone, 32 its payload is plain JSON, 64 its context
-- is, 128 a role that may only add tasks added it, 512 it may run only once. The priority is the one that it has come to.
--
-- p_tokens: random tokens for the tasks; those that it lacks are made here, which takes a tenth of the claim's time.
--
-- Rejected: claiming from a partial index on the wide row's state (44,000 tasks/s against 48,000, and a third more WAL).
-- The settings: a plan that is kept must not be one that was made while the tables were empty.
-- A claim of one task on an idle queue is made of small costs: each expression is prepared anew in each transaction, and an IF
-- with a query in it is a statement. What is rare stands within one IF.
DROP FUNCTION IF EXISTS taskyard.task_claim(uuid, uuid, smallint, text[], int, boolean, int, bigint);
CREATE OR REPLACE FUNCTION taskyard.task_claim(
    p_server uuid, p_claim uuid, p_runtime smallint, p_queues text[], p_limit int, p_alone boolean, p_rank int,
    p_order bigint, p_tokens uuid[] DEFAULT NULL
) RETURNS TABLE (id uuid, token uuid, kind text, name text, queue text, payload bytea, context bytea, attempt int,
    failures int, policy text, timeout_ms bigint, flags int, priority int, order_number bigint)
LANGUAGE plpgsql ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
    v_chosen taskyard.candidate[];
    v_limited text[];
    v_count int;
    v_size int;
    v_durable text := current_setting('synchronous_commit');
    -- A crash may forget a claim: the tasks are enqueued again, and the tokens of the forgotten one, being random, fit no
    -- later write. A completion waits for the disk, and with it for all that was claimed before it. A claim of a task that
    -- may run only once waits for the disk: were it forgotten, the task would run again (flag 512 below).
    v_setting text := set_config('synchronous_commit', 'off', true);
    v_build int;
    v_is_answered boolean;
    v_has_groups boolean;
    v_has_lanes boolean;
    v_has_alone boolean;
    v_groups int[];
    v_alone bigint[];
    v_ids uuid[];
BEGIN
    -- Conflicts with the lock of a rescue: a server that was declared dead claims nothing that the rescue did not see.
    SELECT s.builds[p_runtime + 1] INTO v_build FROM taskyard.server s
    WHERE s.id = p_server AND s.dead_at IS NULL AND s.lease_until > v_now FOR KEY SHARE;
    IF NOT FOUND THEN
        flags := 8;
        RETURN NEXT;
        RETURN;
    END IF;
    -- One statement, behind the lock: what another one answers may have been written while this one waited for it.
    SELECT EXISTS (SELECT FROM taskyard.claim k WHERE k.id = p_claim), EXISTS (SELECT FROM taskyard.kind_group),
        EXISTS (SELECT FROM taskyard.queue q WHERE q.lane <> 0 OR q.draining),
        EXISTS (SELECT FROM taskyard.ready r WHERE r.lane = -1 - p_runtime)
    INTO v_is_answered, v_has_groups, v_has_lanes, v_has_alone;
    IF v_is_answered OR v_has_groups OR v_has_alone THEN
        -- Asked back before it came here: its server goes on without it.
        IF v_is_answered THEN
            RETURN;
        END IF;
        -- Groups of kinds that this server's build has not refused.
        v_groups := ARRAY(SELECT g.id FROM taskyard.kind_group g
            WHERE g.runtime = p_runtime AND (v_build IS NULL OR v_build <> ALL(g.builds)));
        v_alone := ARRAY(SELECT (u.id::bigint << 32) - 1 - p_runtime FROM unnest(0 || v_groups) AS u(id));
    END IF;
    -- Without groups, null: no reason.
    IF p_alone OR v_has_lanes OR v_groups <> '{}' OR current_setting('taskyard.around_locks', true) IN ('on', 'met') THEN
        v_chosen := taskyard.ready_choose_of(p_runtime, p_queues, p_limit, p_alone, p_rank, p_order, coalesce(v_groups, '{}'));
        -- It may have waited for a queue's lock: a start is never recorded before the time at which the queue's rate allowed it,
        -- nor before the end of a parent.
        v_now := taskyard.now();
        v_limited := array(SELECT q.name FROM taskyard.queue q
            WHERE q.running_max IS NOT NULL OR q.rate_count IS NOT NULL);
        RETURN QUERY WITH c AS MATERIALIZED (
            SELECT l.turn, l.place FROM unnest(v_chosen) l
        ), d AS (
            DELETE FROM taskyard.ready r USING c WHERE r.turn = c.turn AND r.ctid = c.place
            RETURNING r.task_id, r.queue, r.rank
        ), k AS (
            INSERT INTO taskyard.claim (id, server_id, queue, size, task_ids)
            SELECT p_claim, p_server, CASE WHEN d.queue = ANY(v_limited) THEN d.queue ELSE '' END, count(*),
                array_agg(d.task_id)
            FROM d GROUP BY 3
        ), u AS (
            UPDATE taskyard.task t SET state = 2, attempt = t.attempt + 1, token = gen_random_uuid(),
                server_id = p_server, started_at = v_now
            FROM (SELECT d.task_id, d.rank FROM d ORDER BY d.task_id) o WHERE t.id = o.task_id AND t.state = 1
            RETURNING t.id, t.token, t.kind, t.name, t.queue, t.payload, t.has_context, t.attempt, t.failures, t.policy,
                t.timeout_ms, (t.has_parents::int + CASE WHEN t.attempt = 1 AND t.expires_at <= v_now THEN 2 ELSE 0 END + t.alone::int * 4
                + (t.plain & 5) * 32)
                AS flags, ~o.rank AS priority, t.order_number, t.unique_hold, t.unique_key,
                t.at_most_once
        ), f AS (
            DELETE FROM taskyard.unique_key y USING u
            WHERE u.unique_hold = 1 AND y.key = u.unique_key AND y.task_id = u.id
        )
        SELECT u.id, u.token, u.kind, u.name, u.queue, u.payload,
            CASE WHEN u.has_context THEN (SELECT x.context FROM taskyard.task_context x WHERE x.task_id = u.id) END,
            u.attempt, u.failures, u.policy, u.timeout_ms, u.flags + CASE WHEN u.has_context AND
                (SELECT x.plain FROM taskyard.task_context x WHERE x.task_id = u.id) THEN 64 ELSE 0 END
                + CASE WHEN u.at_most_once AND set_config('synchronous_commit',
                    CASE v_durable WHEN 'off' THEN 'on' ELSE v_durable END, true) <> '' THEN 512 ELSE 0 END,
            u.priority, u.order_number FROM u;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_limited <> '{}' THEN
            PERFORM taskyard.rate_spend(p_claim, v_now);
        END IF;
        SELECT sum(k.size) INTO v_size FROM taskyard.claim k WHERE k.id = p_claim;
    ELSE
        WITH c AS MATERIALIZED (
            SELECT r.turn, r.ctid AS place FROM taskyard.ready r
            WHERE r.lane = p_runtime AND (r.rank, r.order_number) > (p_rank, p_order)
                AND (p_queues IS NULL OR r.queue = ANY(p_queues))
            ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit FOR UPDATE SKIP LOCKED
        ), d AS (
            DELETE FROM taskyard.ready r USING c WHERE r.turn = c.turn AND r.ctid = c.place RETURNING r.task_id
        ), a AS (
            -- In id order, as every writer locks: no two of them wait for each other.
            SELECT array_agg(d.task_id ORDER BY d.task_id) AS ids FROM d
        ), k AS (
            INSERT INTO taskyard.claim (id, server_id, size, task_ids)
            SELECT p_claim, p_server, cardinality(a.ids), a.ids FROM a WHERE a.ids IS NOT NULL
        )
        -- The time is read here, as taskyard.now() does, since it must not be before anything that this snapshot sees: an attempt
        -- never starts before the end of a parent.
        SELECT a.ids, coalesce((SELECT coalesce(c.frozen_at, clock_timestamp() + c.offset_us * interval '1 microsecond')
            FROM taskyard.clock c), clock_timestamp())
        INTO v_ids, v_now FROM a;
        RETURN QUERY WITH u AS (
            UPDATE taskyard.task t SET state = 2, attempt = t.attempt + 1, token = coalesce(o.token, gen_random_uuid()),
                server_id = p_server, started_at = v_now
            FROM unnest(v_ids, p_tokens[:cardinality(v_ids)]) AS o(task_id, token) WHERE t.id = o.task_id AND t.state = 1
            RETURNING t.id, t.token, t.kind, t.name, t.queue, t.payload, t.has_context, t.attempt, t.failures, t.policy,
                t.timeout_ms, (t.has_parents::int + CASE WHEN t.attempt = 1 AND t.expires_at <= v_now THEN 2 ELSE 0 END + t.alone::int * 4
                + (t.plain & 5) * 32)
                AS flags, t.priority, t.order_number, t.unique_hold, t.unique_key,
                t.at_most_once
        ), f AS (
            DELETE FROM taskyard.unique_key y USING u
            WHERE u.unique_hold = 1 AND y.key = u.unique_key AND y.task_id = u.id
        )
        SELECT u.id, u.token, u.kind, u.name, u.queue, u.payload,
            CASE WHEN u.has_context THEN (SELECT x.context FROM taskyard.task_context x WHERE x.task_id = u.id) END,
            u.attempt, u.failures, u.policy, u.timeout_ms, u.flags + CASE WHEN u.has_context AND
                (SELECT x.plain FROM taskyard.task_context x WHERE x.task_id = u.id) THEN 64 ELSE 0 END
                + CASE WHEN u.at_most_once AND set_config('synchronous_commit',
                    CASE v_durable WHEN 'off' THEN 'on' ELSE v_durable END, true) <> '' THEN 512 ELSE 0 END,
            u.priority, u.order_number FROM u;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_size := cardinality(v_ids);
    END IF;
    IF v_size <> v_count THEN
        PERFORM taskyard.task_set_aside((SELECT array_agg(i) FROM taskyard.claim k, unnest(k.task_ids) i
            WHERE k.id = p_claim));
    END IF;
    IF v_alone IS NOT NULL THEN
        IF EXISTS (
            SELECT FROM taskyard.ready r LEFT JOIN taskyard.queue q ON q.name = r.queue
            WHERE r.lane = ANY(v_alone) AND (p_queues IS NULL OR r.queue = ANY(p_queues)) AND NOT coalesce(q.paused, false)
                AND coalesce(taskyard.rate_free(q.rate_count, q.rate_us, q.rate_full_at, v_now), 1) > 0
        ) THEN
            id := NULL;
            flags := 16;
            RETURN NEXT;
        END IF;
    END IF;
END
$$;

-- The same, but for a range in which tasks were met that other transactions hold locked: these are passed over, by a look at each
-- task's row. Slower, so that a server calls it only after a claim met a lock. A notice with flags 256: some were passed over.
DROP FUNCTION IF EXISTS taskyard.task_claim_around(uuid, uuid, smallint, text[], int, boolean, int, bigint);
CREATE OR REPLACE FUNCTION taskyard.task_claim_around(
    p_server uuid, p_claim uuid, p_runtime smallint, p_queues text[], p_limit int, p_alone boolean, p_rank int,
    p_order bigint, p_tokens uuid[] DEFAULT NULL
) RETURNS TABLE (id uuid, token uuid, kind text, name text, queue text, payload bytea, context bytea, attempt int,
    failures int, policy text, timeout_ms bigint, flags int, priority int, order_number bigint)
LANGUAGE plpgsql ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('taskyard.around_locks', 'on', true);
    RETURN QUERY SELECT c.* FROM taskyard.task_claim(p_server, p_claim, p_runtime, p_queues, p_limit, p_alone, p_rank, p_order, p_tokens) c;
    IF current_setting('taskyard.around_locks') = 'met' THEN
        id := NULL;
        flags := 256;
        RETURN NEXT;
    END IF;
END
$$;
