-- Deletes those of these tasks that are final and whose children all are, with everything that belongs to them; answers
-- their ids.
CREATE OR REPLACE FUNCTION taskyard.task_purge_now(p_ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[];
BEGIN
    SELECT array_agg(l.id) INTO v_ids FROM (
        SELECT t.id FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state BETWEEN 3 AND 6
        ORDER BY t.id FOR UPDATE) l;
    IF v_ids IS NULL THEN
        RETURN '{}';
    END IF;
    -- A statement of its own: a child that was added while the lock was waited for is seen.
    SELECT array_agg(i.id) INTO v_ids FROM unnest(v_ids) AS i(id)
    WHERE NOT EXISTS (
            SELECT FROM taskyard.edge e JOIN taskyard.task c ON c.id = e.child_id
            WHERE e.parent_id = i.id AND c.state NOT BETWEEN 3 AND 6)
        AND NOT EXISTS (SELECT FROM taskyard.cascade k WHERE k.task_id = i.id);
    IF v_ids IS NULL THEN
        RETURN '{}';
    END IF;
    DELETE FROM taskyard.task_log l WHERE l.task_id = ANY(v_ids);
    DELETE FROM taskyard.task_context x WHERE x.task_id = ANY(v_ids);
    DELETE FROM taskyard.attempt a WHERE a.task_id = ANY(v_ids);
    DELETE FROM taskyard.edge e WHERE e.parent_id = ANY(v_ids);
    DELETE FROM taskyard.edge e WHERE e.child_id = ANY(v_ids);
    DELETE FROM taskyard.unique_key k USING taskyard.task t
    WHERE t.id = ANY(v_ids) AND k.key = t.unique_key AND k.task_id = t.id;
    DELETE FROM taskyard.dead d WHERE d.task_id = ANY(v_ids);
    DELETE FROM taskyard.task t WHERE t.id = ANY(v_ids);
    RETURN v_ids;
END
$$;

-- The same, as a person asks for it.
CREATE OR REPLACE FUNCTION taskyard.task_purge(p_ids uuid[]) RETURNS uuid[] LANGUAGE sql
SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
    SELECT taskyard.task_purge_now(p_ids)
$$;
