-- Frees these tasks of a server that is dead: they are runnable again, or have ended. Returns how many.
CREATE OR REPLACE FUNCTION taskyard.task_lose(p_ids uuid[], p_now timestamptz) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count int;
    v_ready uuid[];
    v_ended uuid[];
BEGIN
    WITH x AS MATERIALIZED (
        SELECT t.id, t.order_number, t.attempt, t.started_at, t.server_id, t.alone,
            t.cancel_requested OR t.stop_requested AS asked,
            CASE WHEN t.cancel_requested THEN 6 WHEN t.stop_requested THEN 3
                WHEN t.at_most_once OR (t.alone AND t.crashes >= 2) THEN 5 ELSE 1 END::smallint AS target
        FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state = 2
        ORDER BY t.id FOR NO KEY UPDATE
    ), u AS (
        UPDATE taskyard.task t SET state = x.target, token = NULL, cancel_requested = false, stop_requested = false,
            finished_at = CASE WHEN x.target >= 3 THEN p_now END,
            lost = t.lost + (NOT x.asked AND NOT x.alone)::int,
            crashes = t.crashes + (NOT x.asked AND x.alone)::int,
            alone = t.alone OR (x.target = 1 AND t.lost >= 2),
            error_type = CASE WHEN x.target <> 5 THEN t.error_type WHEN x.alone THEN 'WorkerDied' ELSE 'ServerLost' END,
            error_message = CASE WHEN x.target <> 5 THEN t.error_message
                WHEN NOT x.alone THEN 'server was lost and the task may run only once'
                WHEN t.at_most_once THEN 'worker died and the task may run only once'
                ELSE 'worker died 3 times' END,
            error_traceback = CASE WHEN x.target <> 5 THEN t.error_traceback END
        FROM x WHERE t.id = x.id
        RETURNING t.id, x.target, x.order_number, t.has_children
    ), h AS (
        INSERT INTO taskyard.attempt (task_id, server_id, started_at, ended_at, number, outcome, error_type, error_message)
        SELECT x.id, x.server_id, x.started_at, p_now, x.attempt, CASE WHEN x.alone THEN 4 ELSE 3 END, 'ServerLost',
            'server ' || x.server_id || ' was lost'
        FROM x JOIN u ON u.id = x.id WHERE NOT x.asked ORDER BY x.order_number
    ), c AS (
        INSERT INTO taskyard.cascade AS k (task_id, kind)
        SELECT u.id, u.target - 4 FROM u WHERE u.target >= 4 AND u.has_children ORDER BY u.order_number
        ON CONFLICT (task_id, kind) DO UPDATE SET position = NULL, not_before = NULL
    )
    SELECT count(*), array_agg(u.id) FILTER (WHERE u.target = 1), array_agg(u.id) FILTER (WHERE u.target >= 3)
    INTO v_count, v_ready, v_ended FROM u;
    IF EXISTS (SELECT FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state = 2) THEN
        RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception', MESSAGE = 'a trigger skips it';
    END IF;
    IF v_ready IS NOT NULL THEN
        PERFORM taskyard.ready_insert(v_ready);
    END IF;
    IF v_ended IS NOT NULL THEN
        PERFORM taskyard.task_ended(v_ended, p_now);
    END IF;
    RETURN v_count;
END
$$;

-- Declares a server dead if its counter still stands at p_beat and its lease is over (or p_overdue), and frees up to
-- 1,000 of its tasks. The lock on its row keeps its own claims and beats out: none slips in behind the declaration.
-- A task whose row, or whose unique key that is to be freed, another transaction holds locked is left to a later call, and its
-- claim with it; so is one whose change the database refuses (a constraint or a trigger of the application).
CREATE OR REPLACE FUNCTION taskyard.server_rescue(p_id uuid, p_beat bigint, p_overdue boolean,
    OUT tasks int, OUT more boolean, OUT woken int, OUT ended int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_server taskyard.server;
    v_ids uuid[];
    v_final uuid[];
    v_free uuid[];
    v_each record;
    v_told record;
BEGIN
    tasks := 0;
    more := false;
    woken := 0;
    ended := 0;
    SELECT s.* INTO v_server FROM taskyard.server s WHERE s.id = p_id FOR UPDATE;
    -- Behind the lock: a claim that held it has attempts that started just now.
    v_now := taskyard.now();
    IF NOT FOUND OR (v_server.dead_at IS NULL
            AND (v_server.beat <> p_beat OR NOT (v_server.lease_until <= v_now OR p_overdue))) THEN
        RETURN;
    END IF;
    IF v_server.dead_at IS NULL THEN
        UPDATE taskyard.server s SET dead_at = v_now WHERE s.id = p_id;
    END IF;
    SELECT array_agg(l.id) INTO v_ids FROM (
        SELECT t.id FROM (SELECT DISTINCT i.id FROM taskyard.claim k CROSS JOIN unnest(k.task_ids) AS i(id)
                WHERE k.server_id = p_id) c
            JOIN taskyard.task t ON t.id = c.id AND t.state = 2 AND t.server_id = p_id
        -- What is set aside has ended, though its row does not say so.
        WHERE NOT EXISTS (SELECT FROM taskyard.end_aside a WHERE a.task_id = t.id AND a.token = t.token)
        -- In no order: those that cannot be freed must not be the first ones of each call.
        ORDER BY random() LIMIT 1001 FOR NO KEY UPDATE OF t SKIP LOCKED) l;
    IF cardinality(v_ids) > 1000 THEN
        more := true;
        v_ids := v_ids[1:1000];
    END IF;
    -- Neither is one that ends and whose unique key is locked.
    SELECT array_agg(t.id) INTO v_final FROM taskyard.task t
    WHERE t.id = ANY(v_ids) AND t.unique_key IS NOT NULL
        AND (t.cancel_requested OR t.stop_requested OR t.at_most_once OR (t.alone AND t.crashes >= 2));
    IF v_final IS NOT NULL THEN
        v_free := taskyard.task_free(v_final, false);
        v_ids := ARRAY(SELECT unnest(v_ids) EXCEPT (SELECT unnest(v_final) EXCEPT SELECT unnest(v_free)));
    END IF;
    IF v_ids IS NOT NULL THEN
        SELECT e.* INTO v_each FROM taskyard.task_each('lose', v_ids, v_now) e;
        tasks := v_each.done;
        PERFORM taskyard.upkeep_refused(v_each.reason);
        SELECT count(*) FILTER (WHERE t.state = 1), count(*) FILTER (WHERE t.state >= 3) INTO woken, ended
        FROM taskyard.task t WHERE t.id = ANY(v_ids);
        -- Where none of them could be freed, the next look is soon enough.
        more := (more OR v_each.untried <> '{}') AND tasks > 0;
    END IF;
    IF NOT more THEN
        -- All but those in which a task is left that is locked.
        DELETE FROM taskyard.claim k WHERE k.server_id = p_id
            AND NOT EXISTS (SELECT FROM taskyard.claim_held(p_id, ARRAY[k.id]));
    END IF;
    DELETE FROM taskyard.signal s WHERE s.server_id = p_id AND (NOT more OR s.task_id = ANY(v_ids));
    IF ended > 0 THEN
        SELECT c.* INTO v_told FROM taskyard.cascade_step() c;
        woken := woken + v_told.woken;
        ended := ended + v_told.ended;
    END IF;
END
$$;
