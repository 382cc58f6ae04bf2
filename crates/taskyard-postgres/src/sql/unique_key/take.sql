-- Takes each key for a task, or tells which task holds it. Keys without doubles, sorted by the caller.
-- A key held by a finishing task is waited for.
CREATE OR REPLACE FUNCTION taskyard.unique_key_take(p_keys text[], p_ids uuid[], p_for_us bigint[])
RETURNS TABLE (key text, task_id uuid) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    RETURN QUERY INSERT INTO taskyard.unique_key AS k (key, task_id, until)
        SELECT u.key, u.id, v_now + u.for_us * interval '1 microsecond'
        FROM unnest(p_keys, p_ids, p_for_us) AS u(key, id, for_us)
        ON CONFLICT (key) DO UPDATE SET
            task_id = CASE WHEN k.until <= v_now THEN excluded.task_id ELSE k.task_id END,
            until = CASE WHEN k.until <= v_now THEN excluded.until ELSE k.until END
        RETURNING k.key, k.task_id;
END
$$;

-- Takes the unique key of a task that is brought back, unless it is held for a time, which is over or not. Answers the task
-- that keeps it from being brought back, because it holds the key; null if none does.
CREATE OR REPLACE FUNCTION taskyard.unique_key_retake(p_id uuid, p_now timestamptz) RETURNS uuid LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_task record;
    v_holder uuid;
BEGIN
    SELECT t.unique_key AS key, t.unique_hold AS hold INTO v_task FROM taskyard.task t WHERE t.id = p_id;
    IF v_task.hold IN (0, 1) THEN
        SELECT u.task_id INTO v_holder
        FROM taskyard.unique_key_take(ARRAY[v_task.key], ARRAY[p_id], NULL::bigint[]) u;
    ELSIF v_task.hold IS NOT NULL THEN
        SELECT k.task_id INTO v_holder FROM taskyard.unique_key k
        WHERE k.key = v_task.key AND (k.until IS NULL OR k.until > p_now);
    END IF;
    RETURN nullif(v_holder, p_id);
END
$$;
