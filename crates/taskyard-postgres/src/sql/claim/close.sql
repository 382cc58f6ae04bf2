-- Closes claims of which every task has ended. Without waiting for the disk, a crash may have forgotten earlier ends: a claim of which
-- a task still runs by its row is kept, so that its server finds it (claim_held).
CREATE OR REPLACE FUNCTION taskyard.claim_close(p_claims uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        DELETE FROM taskyard.claim k WHERE k.id = ANY(p_claims)
            AND NOT EXISTS (SELECT FROM taskyard.claim_held(k.server_id, ARRAY[k.id]));
    ELSE
        DELETE FROM taskyard.claim k WHERE k.id = ANY(p_claims);
    END IF;
END
$$;
