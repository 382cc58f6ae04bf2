-- Releases up to 1,000 tasks that are parked for a reason, but for those whose unique key another task holds.
CREATE OR REPLACE FUNCTION taskyard.waiting_unpark(p_runtime smallint, p_reason text, OUT tasks int, OUT more boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '1s'
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[];
    v_held uuid[];
    v_now timestamptz := taskyard.now();
BEGIN
    WITH c AS MATERIALIZED (
        SELECT w.task_id FROM taskyard.waiting w LEFT JOIN taskyard.task t ON t.id = w.task_id
        WHERE w.reason = 3 AND w.runtime = p_runtime AND w.parked = p_reason
            AND (t.unique_hold IS NULL OR NOT EXISTS (SELECT FROM taskyard.unique_key k
                WHERE k.key = t.unique_key AND k.task_id <> t.id AND (k.until IS NULL OR k.until > v_now)))
        ORDER BY w.task_id LIMIT 1000 FOR UPDATE OF w SKIP LOCKED
    )
    SELECT array_agg(c.task_id ORDER BY c.task_id) INTO v_ids FROM c;
    more := coalesce(cardinality(v_ids), 0) = 1000;
    -- Two of them may have the same key.
    SELECT array_agg(t.id) INTO v_held FROM taskyard.task t
    WHERE t.id = ANY(v_ids) AND t.unique_hold IS NOT NULL AND taskyard.unique_key_retake(t.id, v_now) IS NOT NULL;
    SELECT array_agg(i.id ORDER BY i.id) INTO v_ids FROM unnest(v_ids) AS i(id) WHERE i.id <> ALL(coalesce(v_held, '{}'));
    DELETE FROM taskyard.waiting w WHERE w.task_id = ANY(v_ids);
    tasks := coalesce(cardinality(v_ids), 0);
    IF v_ids IS NOT NULL THEN
        UPDATE taskyard.task t SET state = 1 WHERE t.id = ANY(v_ids) AND t.state = 0;
        PERFORM taskyard.ready_insert(v_ids);
    END IF;
END
$$;
