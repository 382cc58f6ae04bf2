-- Locks the parents that a batch names, in id order, and tells their states: a parent that is finishing is waited for,
-- one that has not finished yet cannot finish before the batch is there.
CREATE OR REPLACE FUNCTION taskyard.task_lock_parents(p_ids uuid[])
RETURNS TABLE (id uuid, state smallint, fallen_from uuid) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.id, t.state, t.fallen_from FROM taskyard.task t WHERE t.id = ANY(p_ids)
        ORDER BY t.id FOR NO KEY UPDATE;
END
$$;
