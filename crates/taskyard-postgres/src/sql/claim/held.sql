-- What runs of these claims of a server, as the tasks' rows say; not what is set aside, for that has ended.
CREATE OR REPLACE FUNCTION taskyard.claim_held(p_server uuid, p_claims uuid[])
RETURNS TABLE (claim_id uuid, task_id uuid, token uuid) LANGUAGE plpgsql ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT k.id, t.id, t.token
    FROM taskyard.claim k CROSS JOIN unnest(k.task_ids) AS i(id)
        JOIN taskyard.task t ON t.id = i.id AND t.state = 2 AND t.server_id = p_server
    WHERE k.id = ANY(p_claims) AND k.server_id = p_server
        AND NOT EXISTS (SELECT FROM taskyard.end_aside a WHERE a.task_id = t.id AND a.token = t.token);
END
$$;
