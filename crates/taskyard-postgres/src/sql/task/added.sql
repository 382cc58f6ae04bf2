-- Decides an addition whose outcome is unknown: which of its tasks are stored. If none is, the addition is marked as refused,
-- and its statement stores nothing when it arrives. The lock waits for a statement that is being executed; the second
-- statement has a snapshot of its own and sees what that one committed.
CREATE OR REPLACE FUNCTION taskyard.task_added(p_addition uuid, p_ids uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_addition, 0));
    RETURN QUERY SELECT t.id FROM unnest(p_ids) AS u(id) JOIN taskyard.task t ON t.id = u.id;
    IF NOT FOUND THEN
        INSERT INTO taskyard.refused (id, at) VALUES (p_addition, taskyard.now()) ON CONFLICT DO NOTHING;
    END IF;
END
$$;
