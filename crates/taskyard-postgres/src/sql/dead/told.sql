-- What a server took has been told (or is left to others), if it still is what it took. One that is held just now is being
-- retried or deleted.
CREATE OR REPLACE FUNCTION taskyard.dead_told(p_server uuid, p_ids uuid[], p_told boolean) RETURNS int LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_count int;
BEGIN
    UPDATE taskyard.dead d SET told = p_told, teller = NULL
    WHERE d.task_id IN (SELECT o.task_id FROM taskyard.dead o
        WHERE o.task_id = ANY(p_ids) AND o.teller = p_server AND NOT o.told FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
