-- Takes back the end of fallen tasks, or of one that a person retries (locked by the caller): they wait again, for open
-- parents or their start time, or become runnable; one with a fallen parent and policy `fail` falls again with it. A key
-- that they held until their end is taken again. One whose key another task holds stays as it is, as a task that ended by
-- itself, and its error says so. Answers the states, in order.
CREATE OR REPLACE FUNCTION taskyard.cascade_revive(p_ids uuid[], p_now timestamptz) RETURNS smallint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id uuid;
    v_open int;
    v_task record;
    v_parent_state smallint;
    v_root uuid;
    v_state smallint;
    v_holder uuid;
    v_states smallint[] := '{}';
BEGIN
    -- A parent that ends now closes these edges before or after, never in between.
    PERFORM FROM taskyard.edge e WHERE e.child_id = ANY(p_ids) AND e.open ORDER BY e.parent_id, e.child_id FOR SHARE;
    FOREACH v_id IN ARRAY p_ids LOOP
        SELECT t.on_parent_failure, t.state INTO v_task FROM taskyard.task t WHERE t.id = v_id;
        SELECT count(*) INTO v_open FROM taskyard.edge e WHERE e.child_id = v_id AND e.open;
        v_root := NULL;
        v_holder := NULL;
        IF v_open > 0 AND v_task.on_parent_failure = 0 THEN
            SELECT p.state, coalesce(p.fallen_from, p.id) INTO v_parent_state, v_root
            FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id
            WHERE e.child_id = v_id AND e.open AND p.state IN (5, 6) ORDER BY e.place LIMIT 1;
        END IF;
        IF v_root IS NULL THEN
            v_holder := taskyard.unique_key_retake(v_id, p_now);
        END IF;
        IF v_holder IS NOT NULL THEN
            UPDATE taskyard.task t SET fallen_from = NULL, error_type = 'UniqueKeyHeld', error_traceback = NULL,
                error_message = 'not retried with its parent: its unique key is held by task ' || v_holder
            WHERE t.id = v_id;
            v_states := v_states || v_task.state;
            CONTINUE;
        END IF;
        DELETE FROM taskyard.dead d WHERE d.task_id = v_id;
        UPDATE taskyard.task t SET state = 0, fallen_from = NULL, finished_at = NULL, expires_at = NULL,
            error_type = NULL, error_message = NULL, error_traceback = NULL
        WHERE t.id = v_id
        RETURNING t.runtime, t.queue, t.run_at, t.auto_remove INTO v_task;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception', MESSAGE = 'a trigger skips its revival';
        END IF;
        IF v_task.auto_remove THEN
            DELETE FROM taskyard.deadline d WHERE d.task_id = v_id;
        END IF;
        v_state := CASE WHEN v_root IS NOT NULL THEN v_parent_state
            WHEN v_open > 0 OR v_task.run_at > p_now THEN 0 ELSE 1 END;
        IF v_state = 1 THEN
            UPDATE taskyard.task t SET state = 1 WHERE t.id = v_id;
            PERFORM taskyard.ready_insert(ARRAY[v_id]);
        ELSE
            INSERT INTO taskyard.waiting (task_id, run_at, open_parents, reason, runtime, queue)
            VALUES (v_id, v_task.run_at, v_open, CASE WHEN v_open > 0 THEN 0 ELSE 1 END, v_task.runtime, v_task.queue);
            IF v_root IS NOT NULL THEN
                PERFORM taskyard.cascade_fall(ARRAY[v_id], v_state, v_root, p_now);
            END IF;
        END IF;
        v_states := v_states || v_state;
    END LOOP;
    RETURN v_states;
END
$$;
