-- Cancels tasks as task_cancel does, and keeps why in the row of each that it is done to, or asked of.
CREATE OR REPLACE FUNCTION taskyard.task_cancel_because(p_ids uuid[], p_reason text)
RETURNS TABLE (place int, reply smallint, state smallint) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    FOR place, reply, state IN SELECT c.place, c.reply, c.state FROM taskyard.task_cancel(p_ids) c LOOP
        IF place > 0 AND reply IN (0, 1) THEN
            UPDATE taskyard.task t SET cancel_reason = p_reason WHERE t.id = p_ids[place];
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
