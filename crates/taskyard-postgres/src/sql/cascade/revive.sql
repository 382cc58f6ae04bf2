-- Puts failed, cancelled or stopped tasks (locked by the caller) back to waiting, or runnable if no parent is open; one
-- with a fallen parent and policy `fail` falls again with it. p_root: parents that fell from it are being revived
-- themselves and do not count as fallen. p_retried: these are what a person retries, whose start time is not applied
-- again. Answers the states, in order.
CREATE OR REPLACE FUNCTION taskyard.cascade_revive(p_ids uuid[], p_root uuid, p_retried boolean, p_now timestamptz)
RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid;
    v_open int;
    v_parent record;
    v_task record;
    v_states smallint[] := '{}';
    v_state smallint;
BEGIN
    -- A parent that ends now closes these edges before or after, never in between.
    PERFORM FROM taskyard.edge e WHERE e.child_id = ANY(p_ids) AND e.open ORDER BY e.parent_id, e.child_id FOR SHARE;
    DELETE FROM taskyard.dead d WHERE d.task_id = ANY(p_ids);
    FOREACH v_id IN ARRAY p_ids LOOP
        SELECT t.on_parent_failure, t.runtime, t.queue, t.run_at INTO v_task FROM taskyard.task t WHERE t.id = v_id;
        SELECT count(*) INTO v_open FROM taskyard.edge e WHERE e.child_id = v_id AND e.open;
        v_parent := NULL;
        IF v_open > 0 AND v_task.on_parent_failure = 0 THEN
            SELECT p.id, p.state, coalesce(p.fallen_from, p.id) AS root INTO v_parent
            FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id
            WHERE e.child_id = v_id AND e.open AND p.state IN (5, 6)
                AND (p_root IS NULL OR p.fallen_from IS DISTINCT FROM p_root)
            ORDER BY e.place LIMIT 1;
        END IF;
        IF v_parent.id IS NOT NULL THEN
            v_state := v_parent.state;
            UPDATE taskyard.task t SET state = v_state, fallen_from = v_parent.root, finished_at = p_now,
                error_type = CASE v_state WHEN 5 THEN 'ParentTaskFailed' ELSE 'ParentTaskCancelled' END,
                error_message = 'parent task ' || v_parent.root
                    || CASE v_state WHEN 5 THEN ' failed' ELSE ' was cancelled' END,
                error_traceback = NULL
            WHERE t.id = v_id;
            PERFORM taskyard.task_ended(ARRAY[v_id], p_now);
        ELSE
            v_state := CASE WHEN v_open > 0 OR (NOT p_retried AND v_task.run_at > p_now) THEN 0 ELSE 1 END;
            UPDATE taskyard.task t SET state = v_state, fallen_from = NULL, finished_at = NULL, error_type = NULL,
                error_message = NULL, error_traceback = NULL
            WHERE t.id = v_id;
            IF v_state = 0 THEN
                INSERT INTO taskyard.waiting (task_id, run_at, open_parents, reason, runtime, queue)
                VALUES (v_id, CASE WHEN NOT p_retried THEN v_task.run_at END, v_open, CASE WHEN v_open > 0 THEN 0 ELSE 1 END,
                    v_task.runtime, v_task.queue);
            ELSE
                PERFORM taskyard.ready_insert(ARRAY[v_id]);
            END IF;
        END IF;
        v_states := v_states || v_state;
    END LOOP;
    RETURN v_states;
END
$$;
