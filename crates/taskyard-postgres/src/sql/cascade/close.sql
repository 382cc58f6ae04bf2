-- Counts down the open parents of waiting children (one entry per edge that was just closed) and lets those go that have
-- none left; answers how many became runnable.
CREATE OR REPLACE FUNCTION taskyard.cascade_close(p_children uuid[], p_now timestamptz) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_free uuid[];
    v_count int;
BEGIN
    -- In id order: two finishing parents with children in common do not wait for each other.
    PERFORM FROM taskyard.waiting w WHERE w.task_id = ANY(p_children) AND w.reason = 0 ORDER BY w.task_id FOR UPDATE;
    UPDATE taskyard.waiting w SET open_parents = w.open_parents - n.closed,
        reason = CASE WHEN w.open_parents <= n.closed AND w.run_at > p_now THEN 1 ELSE 0 END
    FROM (SELECT c.id, count(*)::int AS closed FROM unnest(p_children) AS c(id) GROUP BY c.id) n
    WHERE w.task_id = n.id AND w.reason = 0;
    WITH w AS (
        DELETE FROM taskyard.waiting w WHERE w.task_id = ANY(p_children) AND w.reason = 0 AND w.open_parents <= 0
        RETURNING w.task_id
    )
    SELECT array_agg(w.task_id) INTO v_free FROM w;
    IF v_free IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE taskyard.task t SET state = 1 WHERE t.id = ANY(v_free) AND t.state = 0;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count < cardinality(v_free) THEN
        PERFORM taskyard.task_refuse_left(v_free, 0::smallint, 'a trigger skips its start');
    END IF;
    PERFORM taskyard.ready_insert(v_free);
    RETURN cardinality(v_free);
END
$$;
