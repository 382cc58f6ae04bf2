-- Releases the keys that these tasks hold until they finish or start (p_started: only the latter).
CREATE OR REPLACE FUNCTION taskyard.unique_key_release(p_ids uuid[], p_started boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM taskyard.unique_key k USING taskyard.task t
    WHERE t.id = ANY(p_ids) AND k.key = t.unique_key AND k.task_id = t.id
        AND (t.unique_hold = 1 OR (t.unique_hold = 0 AND NOT p_started));
END
$$;
