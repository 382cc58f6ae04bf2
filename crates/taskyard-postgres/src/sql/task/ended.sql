-- What every final state brings with it, for tasks whose rows say it already: keys, deadlines, dead letter.
CREATE OR REPLACE FUNCTION taskyard.task_ended(p_ids uuid[], p_now timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_keys boolean;
    v_remove boolean;
    v_dead boolean;
    v_expires boolean;
BEGIN
    SELECT bool_or(t.unique_hold IN (0, 1)), bool_or(t.auto_remove), bool_or(t.state = 5),
        bool_or(t.expires_at IS NOT NULL)
    INTO v_keys, v_remove, v_dead, v_expires FROM taskyard.task t WHERE t.id = ANY(p_ids);
    IF v_keys THEN
        PERFORM taskyard.unique_key_release(p_ids, false);
    END IF;
    IF v_expires OR v_remove THEN
        DELETE FROM taskyard.deadline d WHERE d.task_id = ANY(p_ids);
    END IF;
    IF v_remove THEN
        INSERT INTO taskyard.deadline (at, task_id, what)
        SELECT p_now + interval '60 s', t.id, 1 FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.auto_remove;
    END IF;
    IF v_dead THEN
        INSERT INTO taskyard.dead (task_id, at)
        SELECT t.id, p_now FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state = 5 ON CONFLICT DO NOTHING;
    END IF;
END
$$;
