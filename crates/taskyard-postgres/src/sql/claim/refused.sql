-- Looks among the next tasks of a claim that the database has refused for those whose start it refuses (a constraint or a trigger
-- of the application), and lets them wait for ten seconds, so that the others can be claimed. Returns how many. Each start is tried
-- and undone.
CREATE OR REPLACE FUNCTION taskyard.claim_refused(p_server uuid, p_runtime smallint, p_queues text[]) RETURNS int LANGUAGE plpgsql
SET lock_timeout = '10ms' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_until timestamptz := clock_timestamp() + interval '1 s';
    v_next record;
    v_is_refused boolean;
    v_reason text;
    v_count int := 0;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR v_next IN SELECT r.turn, r.ctid AS place, t.id, t.runtime, t.queue
        FROM taskyard.ready r JOIN taskyard.task t ON t.id = r.task_id
        WHERE t.runtime = p_runtime AND t.state = 1 AND (p_queues IS NULL OR r.queue = ANY(p_queues))
        ORDER BY r.rank, r.order_number LIMIT 5000 FOR UPDATE OF r SKIP LOCKED
    LOOP
        EXIT WHEN clock_timestamp() > v_until;
        v_is_refused := false;
        BEGIN
            UPDATE taskyard.task t SET state = 2, attempt = t.attempt + 1, token = gen_random_uuid(), server_id = p_server,
                started_at = v_now
            WHERE t.id = v_next.id;
            RAISE EXCEPTION USING ERRCODE = 'TY000';
        EXCEPTION
            WHEN SQLSTATE 'TY000' OR lock_not_available THEN
                NULL;
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                v_is_refused := true;
                v_reason := 'claim task ' || v_next.id || ': ' || SQLERRM;
        END;
        CONTINUE WHEN NOT v_is_refused;
        v_count := v_count + 1;
        DELETE FROM taskyard.ready r WHERE r.turn = v_next.turn AND r.ctid = v_next.place;
        BEGIN
            UPDATE taskyard.task t SET state = 0 WHERE t.id = v_next.id;
            INSERT INTO taskyard.waiting (task_id, run_at, reason, runtime, queue)
            VALUES (v_next.id, v_now + interval '10 s', 2, v_next.runtime, v_next.queue)
            ON CONFLICT (task_id) DO UPDATE SET run_at = excluded.run_at, reason = 2;
        EXCEPTION
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                -- The comparison of the runnable range with the tasks puts it back.
                NULL;
        END;
    END LOOP;
    PERFORM taskyard.upkeep_refused(v_reason);
    RETURN v_count;
END
$$;
