-- Takes tasks out of `ready` or `waiting`, whichever they are in; answers those that were there. Whoever gets the row
-- decides what the task becomes: these rows are locked before the task's own, here as in a claim.
CREATE OR REPLACE FUNCTION taskyard.task_detach(p_ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql
SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_waited uuid[];
    v_ready uuid[];
    v_aged uuid[];
BEGIN
    WITH w AS (DELETE FROM taskyard.waiting w WHERE w.task_id = ANY(p_ids) RETURNING w.task_id)
    SELECT array_agg(w.task_id) INTO v_waited FROM w;
    WITH k AS MATERIALIZED (
        SELECT t.id, ~t.priority AS rank, t.order_number,
            taskyard.ready_lanes(ARRAY[t.runtime::int, -1 - t.runtime::int, coalesce(2 * q.id + 2, 0) + t.runtime]) AS lanes
        FROM taskyard.task t LEFT JOIN taskyard.queue q ON q.name = t.queue
        WHERE t.id = ANY(p_ids) AND t.state = 1
    ), r AS (
        DELETE FROM taskyard.ready r USING k
        WHERE r.lane = ANY(k.lanes) AND r.rank = k.rank AND r.order_number = k.order_number AND r.task_id = k.id
        RETURNING r.task_id
    )
    SELECT array_agg(r.task_id) INTO v_ready FROM r;
    -- What has aged stands elsewhere than its priority says.
    IF EXISTS (SELECT FROM taskyard.ready r WHERE r.ages_at IS NOT NULL) THEN
        WITH r AS (
            DELETE FROM taskyard.ready r WHERE r.ages_at IS NOT NULL AND r.task_id = ANY(p_ids) RETURNING r.task_id
        )
        SELECT array_agg(r.task_id) INTO v_aged FROM r;
        v_ready := v_ready || v_aged;
    END IF;
    RETURN coalesce(v_waited, '{}') || coalesce(v_ready, '{}');
END
$$;
