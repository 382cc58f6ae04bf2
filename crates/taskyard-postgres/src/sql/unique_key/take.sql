-- Takes each key for a task, or tells which task holds it. Keys without doubles, sorted by the caller.
-- A key held by a finishing task is waited for.
CREATE OR REPLACE FUNCTION taskyard.unique_key_take(p_keys text[], p_ids uuid[], p_for_us bigint[])
RETURNS TABLE (key text, task_id uuid) LANGUAGE plpgsql AS $$
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
