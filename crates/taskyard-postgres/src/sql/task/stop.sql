-- Asks the servers of running tasks to stop them. reply: 1 asked, 2 refused, 3 unknown.
CREATE OR REPLACE FUNCTION taskyard.task_stop(p_ids uuid[]) RETURNS TABLE (place int, reply smallint, state smallint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    FOR v_place IN 1..coalesce(cardinality(p_ids), 0) LOOP
        place := v_place;
        state := NULL;
        UPDATE taskyard.task t SET stop_requested = true WHERE t.id = p_ids[v_place] AND t.state = 2;
        IF FOUND THEN
            INSERT INTO taskyard.signal (server_id, task_id, token, cancel)
            SELECT t.server_id, t.id, t.token, false FROM taskyard.task t
            WHERE t.id = p_ids[v_place] AND t.server_id IS NOT NULL AND t.token IS NOT NULL
            ON CONFLICT (server_id, task_id) DO NOTHING;
            reply := 1;
            state := 2;
        ELSE
            SELECT t.state INTO state FROM taskyard.task t WHERE t.id = p_ids[v_place];
            reply := CASE WHEN state IS NULL THEN 3 ELSE 2 END;
            state := coalesce(state, 0);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
