-- Tasks that stood in `ready` while their rows say something else: edited by hand. One in a state that does not exist is
-- parked where people see it; any other one is left as its row says. Nothing is deleted.
CREATE OR REPLACE FUNCTION taskyard.task_set_aside(p_ids uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO taskyard.waiting (task_id, reason, runtime, queue, parked)
    SELECT t.id, 3, t.runtime, t.queue, 'corrupt: state ' || t.state FROM taskyard.task t
    WHERE t.id = ANY(p_ids) AND t.state NOT BETWEEN 0 AND 6 ON CONFLICT DO NOTHING;
    UPDATE taskyard.task t SET state = 0 WHERE t.id = ANY(p_ids) AND t.state NOT BETWEEN 0 AND 6;
    INSERT INTO taskyard.waiting (task_id, reason, runtime, queue, parked)
    SELECT t.id, 3, t.runtime, t.queue, 'corrupt: it stood among the runnable tasks' FROM taskyard.task t
    WHERE t.id = ANY(p_ids) AND t.state = 0 ON CONFLICT DO NOTHING;
END
$$;
