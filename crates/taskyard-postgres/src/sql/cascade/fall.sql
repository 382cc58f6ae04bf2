-- Takes waiting tasks down with a parent that failed (p_state 5) or was cancelled (6); answers those that fell.
CREATE OR REPLACE FUNCTION taskyard.cascade_fall(p_ids uuid[], p_state smallint, p_root uuid, p_now timestamptz)
RETURNS uuid[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_fallen uuid[];
    v_count int;
BEGIN
    WITH w AS (
        DELETE FROM taskyard.waiting w WHERE w.task_id = ANY(p_ids) AND w.reason = 0 RETURNING w.task_id
    )
    SELECT array_agg(w.task_id ORDER BY w.task_id) INTO v_fallen FROM w;
    IF v_fallen IS NULL THEN
        RETURN '{}';
    END IF;
    UPDATE taskyard.task t SET state = p_state, fallen_from = p_root, finished_at = greatest(p_now, t.created_at),
        error_type = CASE p_state WHEN 5 THEN 'ParentTaskFailed' ELSE 'ParentTaskCancelled' END,
        error_message = 'parent task ' || p_root || CASE p_state WHEN 5 THEN ' failed' ELSE ' was cancelled' END,
        error_traceback = NULL
    WHERE t.id = ANY(v_fallen);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count < cardinality(v_fallen) THEN
        PERFORM taskyard.task_refuse_left(v_fallen, 0::smallint, 'a trigger skips its end');
    END IF;
    PERFORM taskyard.task_ended(v_fallen, p_now);
    RETURN v_fallen;
END
$$;
