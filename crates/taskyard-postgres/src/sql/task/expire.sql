-- Cancels tasks that no attempt has started and whose time to start has passed, and tells their children; answers how many.
CREATE OR REPLACE FUNCTION taskyard.task_expire(p_ids uuid[], p_now timestamptz) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_due uuid[];
    v_id uuid;
    v_linked boolean;
    v_count int := 0;
    v_budget int := 1000;
    v_cascade record;
BEGIN
    SELECT array_agg(t.id ORDER BY t.order_number), bool_or(t.has_children) INTO v_due, v_linked
    FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state IN (0, 1) AND t.attempt = 0 AND t.expires_at <= p_now;
    IF v_due IS NULL THEN
        RETURN 0;
    END IF;
    IF NOT v_linked THEN
        RETURN cardinality(taskyard.task_expire_these(v_due, p_now));
    END IF;
    -- One after the other: a child that falls with its parent has not expired.
    FOREACH v_id IN ARRAY v_due LOOP
        CONTINUE WHEN cardinality(taskyard.task_expire_these(ARRAY[v_id], p_now)) = 0;
        v_count := v_count + 1;
        IF (SELECT t.has_children FROM taskyard.task t WHERE t.id = v_id) THEN
            SELECT c.* INTO v_cascade FROM taskyard.cascade_begin(ARRAY[v_id], ARRAY[2::smallint], v_budget, p_now) c;
            v_budget := greatest(v_budget - v_cascade.edges, 0);
        END IF;
    END LOOP;
    RETURN v_count;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.task_expire_these(p_ids uuid[], p_now timestamptz) RETURNS uuid[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[] := taskyard.task_detach(p_ids);
    v_count int;
BEGIN
    UPDATE taskyard.task t SET state = 6, finished_at = p_now, error_type = 'Expired',
        error_message = 'the task expired before it started', error_traceback = NULL
    WHERE t.id = ANY(v_ids);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count < cardinality(v_ids) THEN
        PERFORM taskyard.task_refuse_left(v_ids, 1::smallint, 'a trigger skips its end');
    END IF;
    PERFORM taskyard.task_ended(v_ids, p_now);
    RETURN v_ids;
END
$$;
