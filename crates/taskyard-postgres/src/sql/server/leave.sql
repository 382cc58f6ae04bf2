-- A server leaves. If it still holds tasks after all, it is declared dead instead, so that a rescue frees them.
CREATE OR REPLACE FUNCTION taskyard.server_leave(p_id uuid) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '1s'
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    PERFORM FROM taskyard.server s WHERE s.id = p_id FOR UPDATE;
    IF EXISTS (SELECT FROM taskyard.claim_held(p_id, ARRAY(SELECT k.id FROM taskyard.claim k WHERE k.server_id = p_id))) THEN
        UPDATE taskyard.server s SET dead_at = coalesce(s.dead_at, v_now) WHERE s.id = p_id;
        RETURN false;
    END IF;
    DELETE FROM taskyard.claim k WHERE k.server_id = p_id;
    DELETE FROM taskyard.signal s WHERE s.server_id = p_id;
    DELETE FROM taskyard.server s WHERE s.id = p_id;
    RETURN true;
END
$$;
