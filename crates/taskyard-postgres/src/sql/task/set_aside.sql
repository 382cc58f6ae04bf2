-- Tasks that a claim took out of `ready` and did not start. Those whose rows say something else were edited by hand: one in a state
-- that does not exist is parked where people see it; any other one is left as its row says. Those that are enqueued as before were
-- left so by a trigger: they wait for ten seconds. Nothing is deleted.
CREATE OR REPLACE FUNCTION taskyard.task_set_aside(p_ids uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_skipped uuid[];
BEGIN
    INSERT INTO taskyard.waiting (task_id, reason, runtime, queue, parked)
    SELECT t.id, 3, t.runtime, t.queue, 'corrupt: state ' || t.state FROM taskyard.task t
    WHERE t.id = ANY(p_ids) AND t.state NOT BETWEEN 0 AND 6 ON CONFLICT DO NOTHING;
    UPDATE taskyard.task t SET state = 0 WHERE t.id = ANY(p_ids) AND t.state NOT BETWEEN 0 AND 6;
    INSERT INTO taskyard.waiting (task_id, reason, runtime, queue, parked)
    SELECT t.id, 3, t.runtime, t.queue, 'corrupt: it stood among the runnable tasks' FROM taskyard.task t
    WHERE t.id = ANY(p_ids) AND t.state = 0 ON CONFLICT DO NOTHING;
    SELECT array_agg(t.id) INTO v_skipped FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state = 1;
    IF v_skipped IS NOT NULL THEN
        PERFORM taskyard.task_postpone(v_skipped);
        PERFORM taskyard.upkeep_refused('claim task ' || v_skipped[1] || ': a trigger skips its start');
    END IF;
END
$$;

-- Refuses a change that a trigger of the application skipped: one of these tasks is in p_state or one before it, as before.
CREATE OR REPLACE FUNCTION taskyard.task_refuse_left(p_ids uuid[], p_state smallint, p_message text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state <= p_state) THEN
        RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception', MESSAGE = p_message;
    END IF;
END
$$;

-- Lets enqueued tasks that are in `ready` no more wait, as after a refusal. One of which the database accepts no change at all stays
-- enqueued, in no range for that time.
CREATE OR REPLACE FUNCTION taskyard.task_postpone(p_ids uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO taskyard.waiting (task_id, run_at, reason, runtime, queue)
    SELECT t.id, taskyard.now() + taskyard.set_back(true), 2, t.runtime, t.queue FROM taskyard.task t WHERE t.id = ANY(p_ids)
    ON CONFLICT (task_id) DO UPDATE SET run_at = excluded.run_at, reason = 2;
    BEGIN
        UPDATE taskyard.task t SET state = 0 WHERE t.id = ANY(p_ids) AND t.state = 1;
    EXCEPTION
        WHEN transaction_rollback THEN
            RAISE;
        WHEN OTHERS THEN
            NULL;
    END;
END
$$;
