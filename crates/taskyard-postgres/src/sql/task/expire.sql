-- Cancels waiting and enqueued tasks whose time to start has passed, and tells their children; answers how many.
CREATE OR REPLACE FUNCTION taskyard.task_expire(p_ids uuid[], p_now timestamptz) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_due uuid[];
    v_parents uuid[];
BEGIN
    SELECT array_agg(t.id) INTO v_due FROM taskyard.task t
    WHERE t.id = ANY(p_ids) AND t.state IN (0, 1) AND t.expires_at <= p_now;
    IF v_due IS NULL THEN
        RETURN 0;
    END IF;
    v_due := taskyard.task_detach(v_due);
    IF cardinality(v_due) = 0 THEN
        RETURN 0;
    END IF;
    UPDATE taskyard.task t SET state = 6, finished_at = p_now, error_type = 'Expired',
        error_message = 'the task expired before it started', error_traceback = NULL
    WHERE t.id = ANY(v_due);
    PERFORM taskyard.task_ended(v_due, p_now);
    SELECT array_agg(t.id ORDER BY t.order_number) INTO v_parents FROM taskyard.task t
    WHERE t.id = ANY(v_due) AND t.has_children;
    IF v_parents IS NOT NULL THEN
        PERFORM taskyard.cascade_run(v_parents, array_fill(2::smallint, ARRAY[cardinality(v_parents)]), NULL, NULL, 1000,
            p_now);
    END IF;
    RETURN cardinality(v_due);
END
$$;
