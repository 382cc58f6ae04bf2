-- What a server took has been told (or is left to others), if it still is what it took. It waits for whoever holds one just now:
-- somebody who looks for untold ones, retries or deletes it.
CREATE OR REPLACE FUNCTION taskyard.dead_told(p_server uuid, p_ids uuid[], p_told boolean) RETURNS int LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '1s'
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count int;
BEGIN
    WITH o AS MATERIALIZED (
        SELECT o.task_id FROM taskyard.dead o WHERE o.task_id = ANY(p_ids) ORDER BY o.task_id FOR UPDATE
    )
    UPDATE taskyard.dead d SET told = p_told, teller = NULL
    FROM o WHERE d.task_id = o.task_id AND d.teller = p_server AND NOT d.told;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
