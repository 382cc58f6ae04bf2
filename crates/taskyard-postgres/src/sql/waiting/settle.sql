-- Settles up to 200 children that were added inside callers' transactions: only now, after their commit, are their
-- parents locked and looked at. A parent that does not exist fails the child; so does a cycle, which two transactions
-- that did not see each other may have closed: the one that is settled later falls. Children that are locked, or whose change the
-- database refuses, are left alone for a while, those of a locked parent to the next step; they hold up no others.
CREATE OR REPLACE FUNCTION taskyard.waiting_settle(OUT tasks int, OUT more boolean, OUT woken int, OUT ended int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '50ms'
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_ids uuid[];
    v_id uuid;
    v_policy smallint;
    v_unknown uuid;
    v_fallen record;
    v_open int;
    v_state smallint;
    v_error text;
    v_message text;
    v_root uuid;
    v_run_at timestamptz;
    v_last uuid := '00000000-0000-0000-0000-000000000000';
    v_parents uuid[];
    v_free uuid[];
    v_reason text;
    v_until timestamptz := clock_timestamp() + interval '300 ms';
    v_is_around boolean := false;
    v_locked uuid[];
    v_refused uuid[] := '{}';
BEGIN
    -- A deferred constraint would be checked at the commit, and undo the whole step.
    SET CONSTRAINTS ALL IMMEDIATE;
    tasks := 0;
    woken := 0;
    ended := 0;
    -- Passes over children of a parent that another transaction holds locked.
    FOR v_round IN 1 .. 25 LOOP
        SELECT array_agg(l.task_id ORDER BY l.task_id) INTO v_ids FROM (
            SELECT w.task_id FROM taskyard.waiting w
            WHERE w.reason = 4 AND w.task_id > v_last AND (w.not_before IS NULL OR w.not_before <= v_now)
            ORDER BY w.task_id LIMIT 200 * v_round FOR UPDATE SKIP LOCKED) l;
        more := coalesce(cardinality(v_ids), 0) = 200 * v_round;
        EXIT WHEN v_ids IS NULL;
        v_last := v_ids[cardinality(v_ids)];
        v_parents := ARRAY(SELECT t.id FROM taskyard.task t
            WHERE t.id IN (SELECT e.parent_id FROM taskyard.edge e WHERE e.child_id = ANY(v_ids)));
        IF NOT v_is_around THEN
            BEGIN
                -- As for a batch of our own: the parents first, in id order.
                PERFORM FROM taskyard.task t WHERE t.id = ANY(v_parents) ORDER BY t.id FOR NO KEY UPDATE;
            EXCEPTION WHEN lock_not_available THEN
                v_is_around := true;
            END;
        END IF;
        IF v_is_around THEN
            v_free := ARRAY(SELECT l.id FROM (
                SELECT t.id FROM taskyard.task t WHERE t.id = ANY(v_parents) ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED) l);
            v_ids := ARRAY(SELECT c.id FROM unnest(v_ids) AS c(id) WHERE NOT EXISTS (SELECT FROM taskyard.edge e
                WHERE e.child_id = c.id AND e.parent_id = ANY(v_parents) AND e.parent_id <> ALL(v_free)) ORDER BY c.id);
        END IF;
        EXIT WHEN v_ids <> '{}' OR NOT more OR clock_timestamp() > v_until;
    END LOOP;
    IF coalesce(v_ids, '{}') = '{}' THEN
        more := false;
        RETURN;
    END IF;
    -- Behind the parents' locks: a child never ends before the parent that it follows.
    v_now := taskyard.now();
    IF cardinality(v_ids) > 200 THEN
        v_ids := v_ids[1:200];
        more := true;
    END IF;
    v_free := taskyard.task_free(v_ids, false);
    v_locked := ARRAY(SELECT unnest(v_ids) EXCEPT SELECT unnest(v_free));
    UPDATE taskyard.task t SET has_children = true
    FROM (SELECT DISTINCT e.parent_id AS id FROM taskyard.edge e WHERE e.child_id = ANY(v_ids)) p
    WHERE t.id = p.id AND NOT t.has_children;
    PERFORM set_config('lock_timeout', '10ms', true);
    v_until := clock_timestamp() + interval '300 ms';
    FOREACH v_id IN ARRAY v_free LOOP
        IF clock_timestamp() > v_until THEN
            more := true;
            EXIT;
        END IF;
        BEGIN
            SELECT t.on_parent_failure, t.run_at INTO v_policy, v_run_at FROM taskyard.task t WHERE t.id = v_id;
            UPDATE taskyard.edge e SET open = false FROM taskyard.task p
            WHERE e.child_id = v_id AND e.open AND p.id = e.parent_id
                AND (p.state = 4 OR (v_policy = 1 AND p.state IN (5, 6)));
            SELECT e.parent_id INTO v_unknown FROM taskyard.edge e
            WHERE e.child_id = v_id AND NOT EXISTS (SELECT FROM taskyard.task p WHERE p.id = e.parent_id)
            ORDER BY e.place LIMIT 1;
            v_state := NULL;
            v_root := NULL;
            v_error := NULL;
            IF v_unknown IS NOT NULL THEN
                v_state := 5;
                v_error := 'UnknownParent';
                v_message := 'it names a parent that does not exist: ' || v_unknown;
            ELSIF EXISTS (SELECT FROM taskyard.edge e WHERE e.parent_id = v_id) AND EXISTS (
                WITH RECURSIVE above AS (
                    SELECT e.parent_id FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id AND p.state = 0
                    WHERE e.child_id = v_id AND e.open
                    UNION
                    SELECT e.parent_id FROM above a JOIN taskyard.edge e ON e.child_id = a.parent_id AND e.open
                        JOIN taskyard.task p ON p.id = e.parent_id AND p.state = 0
                )
                SELECT FROM above a WHERE a.parent_id = v_id
            ) THEN
                v_state := 5;
                v_error := 'ParentCycle';
                v_message := 'it is, directly or not, its own parent';
            ELSIF v_policy = 0 THEN
                SELECT p.state, coalesce(p.fallen_from, p.id) AS root INTO v_fallen
                FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id
                WHERE e.child_id = v_id AND e.open AND p.state IN (5, 6) ORDER BY e.place LIMIT 1;
                IF FOUND THEN
                    v_state := v_fallen.state;
                    v_root := v_fallen.root;
                    v_error := CASE v_state WHEN 5 THEN 'ParentTaskFailed' ELSE 'ParentTaskCancelled' END;
                    v_message := 'parent task ' || v_root || CASE v_state WHEN 5 THEN ' failed' ELSE ' was cancelled' END;
                END IF;
            END IF;
            IF v_state IS NOT NULL THEN
                DELETE FROM taskyard.waiting w WHERE w.task_id = v_id;
                UPDATE taskyard.task t SET state = v_state, fallen_from = v_root, finished_at = v_now, error_type = v_error,
                    error_message = v_message WHERE t.id = v_id;
                IF NOT FOUND THEN
                    PERFORM taskyard.task_refuse_left(ARRAY[v_id], 0::smallint, 'a trigger skips its end');
                END IF;
                PERFORM taskyard.task_ended(ARRAY[v_id], v_now);
                PERFORM taskyard.cascade_begin(ARRAY[v_id], ARRAY[(v_state - 4)::smallint], 1000, v_now);
                ended := ended + 1;
            ELSE
                SELECT count(*) INTO v_open FROM taskyard.edge e WHERE e.child_id = v_id AND e.open;
                IF v_open > 0 OR v_run_at > v_now THEN
                    UPDATE taskyard.waiting w SET open_parents = v_open, reason = CASE WHEN v_open > 0 THEN 0 ELSE 1 END
                    WHERE w.task_id = v_id;
                ELSE
                    DELETE FROM taskyard.waiting w WHERE w.task_id = v_id;
                    UPDATE taskyard.task t SET state = 1 WHERE t.id = v_id;
                    IF NOT FOUND THEN
                        PERFORM taskyard.task_refuse_left(ARRAY[v_id], 0::smallint, 'a trigger skips its start');
                    END IF;
                    PERFORM taskyard.ready_insert(ARRAY[v_id]);
                    woken := woken + 1;
                END IF;
            END IF;
            tasks := tasks + 1;
        EXCEPTION
            -- The child stays unsettled: a child of one that falls is locked, or the database refuses the change.
            WHEN lock_not_available THEN
                v_locked := v_locked || v_id;
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                v_refused := v_refused || v_id;
                v_reason := 'settle task ' || v_id || ': ' || SQLERRM;
        END;
    END LOOP;
    UPDATE taskyard.waiting w SET not_before = v_now + taskyard.set_back(w.task_id = ANY(v_refused))
    WHERE w.task_id = ANY(v_locked || v_refused) AND w.reason = 4;
    PERFORM taskyard.upkeep_refused(v_reason);
    -- Where none could be settled, the next look is soon enough.
    more := more AND tasks > 0;
END
$$;
