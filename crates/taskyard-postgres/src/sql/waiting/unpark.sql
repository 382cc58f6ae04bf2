-- Releases up to 1,000 tasks that are parked for a reason.
CREATE OR REPLACE FUNCTION taskyard.waiting_unpark(p_runtime smallint, p_reason text, OUT tasks int, OUT more boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_ids uuid[];
BEGIN
    WITH c AS MATERIALIZED (
        SELECT w.task_id FROM taskyard.waiting w WHERE w.reason = 3 AND w.runtime = p_runtime AND w.parked = p_reason
        ORDER BY w.task_id LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), d AS (
        DELETE FROM taskyard.waiting w USING c WHERE w.task_id = c.task_id RETURNING w.task_id
    )
    SELECT array_agg(d.task_id ORDER BY d.task_id) INTO v_ids FROM d;
    tasks := coalesce(cardinality(v_ids), 0);
    more := tasks = 1000;
    IF v_ids IS NOT NULL THEN
        UPDATE taskyard.task t SET state = 1 WHERE t.id = ANY(v_ids) AND t.state = 0;
        PERFORM taskyard.ready_insert(v_ids);
    END IF;
END
$$;
