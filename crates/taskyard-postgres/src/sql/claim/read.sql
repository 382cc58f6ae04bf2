-- What a claim whose reply was lost has claimed and still holds. The lock on the server's row waits for a claim that is
-- under way; one that is still on the road finds an empty row in its place and claims nothing.
CREATE OR REPLACE FUNCTION taskyard.claim_read(p_server uuid, p_claim uuid)
RETURNS TABLE (id uuid, token uuid, kind text, name text, queue text, payload bytea, context bytea, attempt int,
    failures int, policy text, timeout_ms bigint, flags int, priority int, order_number bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '1s'
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    PERFORM FROM taskyard.server s WHERE s.id = p_server FOR UPDATE;
    IF FOUND AND NOT EXISTS (SELECT FROM taskyard.claim k WHERE k.id = p_claim) THEN
        INSERT INTO taskyard.claim (id, server_id, size, task_ids) VALUES (p_claim, p_server, 0, '{}');
        RETURN;
    END IF;
    RETURN QUERY SELECT t.id, t.token, t.kind, t.name, t.queue, t.payload,
        CASE WHEN t.has_context THEN (SELECT x.context FROM taskyard.task_context x WHERE x.task_id = t.id) END,
        t.attempt, t.failures, t.policy, t.timeout_ms,
        t.has_parents::int + CASE WHEN t.attempt = 1 AND t.expires_at <= v_now THEN 2 ELSE 0 END + t.alone::int * 4
            + (t.plain & 5) * 32 + CASE WHEN t.has_context AND
                (SELECT x.plain FROM taskyard.task_context x WHERE x.task_id = t.id) THEN 64 ELSE 0 END,
        t.priority,
        t.order_number
    FROM (
        -- A queue that was limited since has rows of its own for what it runs: each task once.
        SELECT DISTINCT i.id, k.server_id FROM taskyard.claim k CROSS JOIN unnest(k.task_ids) AS i(id)
        WHERE k.id = p_claim
    ) h JOIN taskyard.task t ON t.id = h.id
    WHERE t.state = 2 AND t.server_id = h.server_id
    ORDER BY t.priority DESC, t.order_number;
END
$$;
