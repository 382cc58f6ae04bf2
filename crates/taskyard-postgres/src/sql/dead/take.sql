-- Takes dead letters for a server's hooks, those that died first: of the last day, of its runtime and queues, that nobody was
-- told of and no other living server is telling; with a namespace only of kinds in it. Nothing if its own lease is over. Who retries or purges one meanwhile does
-- not wait for long: what he holds is passed by, and this holds nothing else.
-- An older build gives no namespace.
DROP FUNCTION IF EXISTS taskyard.dead_take(uuid, smallint, text[], int);
CREATE OR REPLACE FUNCTION taskyard.dead_take(p_server uuid, p_runtime smallint, p_queues text[], p_limit int,
    p_namespace text DEFAULT NULL)
RETURNS SETOF uuid LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '1s'
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    IF NOT EXISTS (SELECT FROM taskyard.server s WHERE s.id = p_server AND s.dead_at IS NULL) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH found AS MATERIALIZED (
        SELECT d.task_id, d.at FROM taskyard.dead d JOIN taskyard.task t ON t.id = d.task_id
        WHERE NOT d.told AND d.at > v_now - interval '1 day'
            AND t.runtime = p_runtime AND (p_queues IS NULL OR t.queue = ANY(p_queues))
            AND (p_namespace IS NULL OR starts_with(t.kind, p_namespace || '/'))
            AND (d.teller IS NULL OR d.teller = p_server
                OR NOT EXISTS (SELECT FROM taskyard.server s WHERE s.id = d.teller AND s.dead_at IS NULL))
        ORDER BY d.at LIMIT p_limit FOR UPDATE OF d SKIP LOCKED
    ), taken AS (
        UPDATE taskyard.dead d SET teller = p_server FROM found f WHERE d.task_id = f.task_id RETURNING d.task_id
    )
    SELECT f.task_id FROM found f JOIN taken k ON k.task_id = f.task_id ORDER BY f.at, f.task_id;
END
$$;
