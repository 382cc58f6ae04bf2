-- Those of these tasks whose rows nobody else holds locked, or that do not exist. Looks only: its own locks end with it.
CREATE OR REPLACE FUNCTION taskyard.task_unlocked(p_ids uuid[]) RETURNS TABLE (id uuid) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET lock_timeout = '20ms' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.id FROM unnest(p_ids) AS u(id) JOIN taskyard.task t ON t.id = u.id
        FOR NO KEY UPDATE OF t SKIP LOCKED;
    RETURN QUERY SELECT u.id FROM unnest(p_ids) AS u(id) WHERE NOT EXISTS (SELECT FROM taskyard.task t WHERE t.id = u.id);
END
$$;
