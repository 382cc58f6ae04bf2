-- Looks among the next tasks of a claim that the database has refused for those whose start it refuses (a constraint or a trigger
-- of the application), and lets them wait for ten seconds, so that the others can be claimed. Returns how many. Each start is tried
-- and undone.
CREATE OR REPLACE FUNCTION taskyard.claim_refused(p_server uuid, p_runtime smallint, p_queues text[]) RETURNS int LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_until timestamptz;
    v_groups int[];
    v_chosen taskyard.candidate[];
    v_next record;
    v_is_refused boolean;
    v_reason text;
    v_count int := 0;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    -- As a claim does.
    SELECT ARRAY(SELECT g.id FROM taskyard.kind_group g
        WHERE g.runtime = p_runtime AND (s.builds[p_runtime + 1] IS NULL OR s.builds[p_runtime + 1] <> ALL(g.builds)))
    INTO v_groups FROM taskyard.server s WHERE s.id = p_server;
    v_chosen := taskyard.ready_choose_of(p_runtime, p_queues, 1000, false, -2147483648, -9223372036854775808, coalesce(v_groups, '{}'))
        || taskyard.ready_choose_of(p_runtime, p_queues, 1, true, -2147483648, -9223372036854775808, coalesce(v_groups, '{}'));
    v_until := clock_timestamp() + interval '1 s';
    PERFORM set_config('lock_timeout', '10ms', true);
    FOR v_next IN SELECT c.turn, c.place, t.id
        FROM unnest(v_chosen) WITH ORDINALITY AS c(rank, order_number, turn, place, queue, row_number)
            JOIN taskyard.ready r ON r.turn = c.turn AND r.ctid = c.place
            JOIN taskyard.task t ON t.id = r.task_id
        WHERE t.state = 1 ORDER BY c.row_number
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
        PERFORM taskyard.task_postpone(ARRAY[v_next.id]);
    END LOOP;
    PERFORM taskyard.upkeep_refused(v_reason);
    RETURN v_count;
END
$$;
