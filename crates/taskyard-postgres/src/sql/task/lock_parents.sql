-- Locks the parents that a batch names, in id order, and tells their states: a parent that is finishing is waited for,
-- one that has not finished yet cannot finish before the batch is there.
--
-- One index look per id, never `id = ANY(p_ids)`: that condition is checked again, one by one, for every row of a lossy
-- bitmap page and for every row that was updated in the meantime, which took minutes for 100,000 parents.
CREATE OR REPLACE FUNCTION taskyard.task_lock_parents(p_ids uuid[])
RETURNS TABLE (id uuid, state smallint, fallen_from uuid) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.id, t.state, t.fallen_from
        FROM (SELECT DISTINCT u.id FROM unnest(p_ids) AS u(id)) p JOIN taskyard.task t ON t.id = p.id
        ORDER BY t.id FOR NO KEY UPDATE OF t;
END
$$;
