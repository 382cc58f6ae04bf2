-- Writes the history of decisions that applied: new rows, rows whose task ended, held ones that began or gave way, and
-- what is too old to be kept.
CREATE OR REPLACE FUNCTION taskyard.schedule_record(p_runs json, p_settled json, p_released json, p_dropped bigint[],
    p_kept bigint) RETURNS void LANGUAGE plpgsql SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    INSERT INTO taskyard.schedule_run (schedule, fire_at, until, count, outcome, manual, open, task_id, created_at)
    SELECT x.schedule, x.fire_at, x.until, x.count, x.outcome, x.manual, x.outcome <= 1, x.task_id, v_now
    FROM json_to_recordset(p_runs) AS x(schedule text, fire_at timestamptz, until timestamptz, count int,
        outcome smallint, manual boolean, task_id uuid, place bigint)
    ORDER BY x.place;
    UPDATE taskyard.schedule_run r SET open = false, state = x.state, finished_at = x.finished_at,
        error_type = x.error_type, error_message = x.error_message
    FROM json_to_recordset(p_settled) AS x(sequence bigint, state smallint, finished_at timestamptz, error_type text,
        error_message text)
    WHERE r.sequence = x.sequence;
    UPDATE taskyard.schedule_run r SET outcome = 0, task_id = x.task_id
    FROM json_to_recordset(p_released) AS x(sequence bigint, task_id uuid)
    WHERE r.sequence = x.sequence;
    UPDATE taskyard.schedule_run r SET outcome = 2, open = false WHERE r.sequence = ANY (p_dropped);
    DELETE FROM taskyard.schedule_run r
    USING (
        SELECT d.schedule, (SELECT o.sequence FROM taskyard.schedule_run o WHERE o.schedule = d.schedule
            ORDER BY o.sequence DESC OFFSET p_kept LIMIT 1) AS sequence
        FROM (SELECT DISTINCT x.schedule FROM json_to_recordset(p_runs) AS x(schedule text)) d) old
    WHERE r.schedule = old.schedule AND r.sequence <= old.sequence AND NOT r.open;
END
$$;
