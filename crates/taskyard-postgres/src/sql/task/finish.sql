-- Ends attempts in every other way, and done ones that bring context or logs. Ids without doubles, in the caller's
-- order; one row per item: reply 0 applied, 1 applied earlier, 2 lost. A row with place 0 tells in `reply` whether tasks
-- became runnable or due (1), and in `state` whether any came to a final state.
--
-- codes: 0 done, 1 failed, 2 retry, 3 snooze, 4 released, 5 parked (the reason is the message), 6 crashed, 7 beside,
-- 8 interrupted, 9 expired, 10 cut short, which is a release unless the task may run only once, 11 lost, 12 refused: the server
-- does not know the kind, see kind_refuse (the reason is the message, the build the type).
CREATE OR REPLACE FUNCTION taskyard.task_finish(
    p_ids uuid[], p_tokens uuid[], p_codes smallint[], p_results bytea[], p_after_us bigint[], p_types text[],
    p_messages text[], p_traces text[], p_contexts bytea[], p_log_ids uuid[], p_log_tokens uuid[], p_log_levels smallint[],
    p_log_loggers text[], p_log_messages text[], p_log_fields bytea[], p_log_traces text[], p_closed uuid[]
) RETURNS TABLE (place int, reply smallint, state smallint) LANGUAGE plpgsql ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
    v_ids uuid[];
    v_places bigint[];
    v_states smallint[];
    v_ended uuid[];
    v_ready uuid[];
    v_parents uuid[];
    v_kinds smallint[];
    v_more boolean;
    v_woken int := 0;
BEGIN
    IF p_contexts IS NOT NULL OR p_log_ids IS NOT NULL THEN
        PERFORM taskyard.task_record(p_ids, p_tokens, p_contexts, p_log_ids, p_log_tokens, p_log_levels, p_log_loggers,
            p_log_messages, p_log_fields, p_log_traces);
    END IF;
    IF 12 = ANY(p_codes) THEN
        p_codes := taskyard.kind_refuse(p_ids, p_tokens, p_codes, p_types);
    END IF;
    WITH x AS MATERIALIZED (
        SELECT t.id, n.place, CASE WHEN n.code = 10 AND NOT t.at_most_once THEN 4 ELSE n.code END AS code, n.result, n.after_us, n.type, n.message, n.trace, t.attempt, t.server_id,
            t.started_at, t.crashes, t.at_most_once, t.runtime, t.queue, t.cancel_requested, t.stop_requested
        FROM unnest(p_ids, p_tokens, p_codes, p_results, p_after_us, p_types, p_messages, p_traces)
                WITH ORDINALITY AS n(id, token, code, result, after_us, type, message, trace, place)
            JOIN taskyard.task t ON t.id = n.id AND t.token = n.token AND t.state = 2
        ORDER BY t.id FOR NO KEY UPDATE OF t
    ), j AS (
        -- A request that was made before this write wins over everything but a success.
        SELECT x.*, x.code <> 0 AND (x.cancel_requested OR x.stop_requested) AS asked,
            CASE WHEN x.code = 0 THEN 4
                WHEN x.cancel_requested THEN 6
                WHEN x.stop_requested THEN 3
                WHEN x.code IN (1, 10) THEN 5
                WHEN x.code IN (2, 3) THEN CASE WHEN x.after_us > 0 THEN 0 ELSE 1 END
                WHEN x.code = 4 THEN 1
                WHEN x.code = 5 THEN 0
                WHEN x.code = 6 THEN CASE WHEN x.crashes >= 2 OR x.at_most_once THEN 5 ELSE 1 END
                WHEN x.code IN (7, 11) THEN CASE WHEN x.at_most_once THEN 5 ELSE 1 END
                ELSE 6 END::smallint AS target,
            CASE WHEN x.at_most_once THEN 'worker died and the task may run only once'
                ELSE 'worker died 3 times' END AS verdict
        FROM x
    ), y AS MATERIALIZED (
        -- What the row says went wrong: 1 what is given, 2 expired, 3 its worker died, 4 cut short, 0 as before.
        SELECT j.*, CASE WHEN j.asked THEN 0 WHEN j.code IN (1, 2) THEN 1 WHEN j.code = 9 THEN 2
            WHEN j.code IN (6, 7) AND j.target = 5 THEN 3 WHEN j.code = 10 THEN 4
            WHEN j.code = 11 AND j.target = 5 THEN 1 ELSE 0 END AS blame
        FROM j
    ), h AS (
        -- Also of a death that ends the task: its row says `failed`, the attempt's says how.
        INSERT INTO taskyard.attempt (task_id, server_id, started_at, ended_at, number, outcome, error_type,
            error_message, error_traceback)
        SELECT y.id, y.server_id, y.started_at, v_now, y.attempt,
            CASE y.code WHEN 2 THEN 2 WHEN 3 THEN 5 WHEN 6 THEN 4 ELSE 3 END,
            CASE WHEN y.code = 6 AND y.target = 5 THEN 'WorkerDied' ELSE y.type END,
            CASE WHEN y.code = 6 AND y.target = 5 THEN y.verdict ELSE y.message END, y.trace
        FROM y WHERE NOT y.asked AND y.code IN (2, 3, 6, 7, 10, 11) ORDER BY y.place
    ), w AS (
        INSERT INTO taskyard.waiting (task_id, run_at, reason, runtime, queue, parked)
        SELECT y.id, CASE WHEN y.code <> 5 THEN v_now + y.after_us * interval '1 microsecond' END,
            CASE WHEN y.code = 5 THEN 3 ELSE 2 END, y.runtime, y.queue, CASE WHEN y.code = 5 THEN y.message END
        FROM y WHERE y.target = 0
    ), u AS (
        UPDATE taskyard.task t SET state = y.target, cancel_requested = false, stop_requested = false,
            result = CASE WHEN y.code = 0 THEN y.result ELSE t.result END,
            finished_at = CASE WHEN y.target >= 3 THEN v_now END,
            attempt = t.attempt - (NOT y.asked AND y.code IN (4, 5, 9))::int,
            started_at = CASE WHEN y.asked OR y.code NOT IN (4, 5, 9) THEN t.started_at END,
            failures = t.failures + (NOT y.asked AND y.code IN (1, 2))::int,
            crashes = t.crashes + (NOT y.asked AND y.code = 6)::int,
            lost = t.lost + (NOT y.asked AND y.code = 11)::int,
            alone = t.alone OR (NOT y.asked AND (y.code IN (6, 7) OR y.code = 11 AND y.target = 1 AND t.lost >= 2)),
            run_at = CASE WHEN y.asked OR y.code NOT IN (2, 3) THEN t.run_at
                WHEN y.target = 0 THEN v_now + y.after_us * interval '1 microsecond' END,
            error_type = CASE y.blame WHEN 1 THEN y.type WHEN 2 THEN 'Expired' WHEN 3 THEN 'WorkerDied'
                WHEN 4 THEN 'CutShort' ELSE t.error_type END,
            error_message = CASE y.blame WHEN 1 THEN y.message WHEN 2 THEN 'the task expired before it started'
                WHEN 3 THEN y.verdict WHEN 4 THEN 'the task was cut short and may run only once'
                ELSE t.error_message END,
            error_traceback = CASE WHEN y.blame > 0 THEN y.trace ELSE t.error_traceback END
        FROM y WHERE t.id = y.id
        RETURNING t.id, y.place, y.target, t.state <> 2 AS written, t.has_children, t.auto_remove OR t.unique_hold IS NOT NULL OR t.expires_at IS NOT NULL AS more
    )
    SELECT array_agg(u.id ORDER BY u.place), array_agg(u.place ORDER BY u.place), array_agg(u.target ORDER BY u.place),
        array_agg(u.id ORDER BY u.place) FILTER (WHERE u.target >= 3),
        array_agg(u.id ORDER BY u.place) FILTER (WHERE u.target = 1),
        array_agg(u.id ORDER BY u.place) FILTER (WHERE u.target >= 4 AND u.has_children),
        array_agg((u.target - 4)::smallint ORDER BY u.place) FILTER (WHERE u.target >= 4 AND u.has_children),
        bool_or(u.target >= 3 AND (u.more OR u.target = 5))
    INTO v_ids, v_places, v_states, v_ended, v_ready, v_parents, v_kinds, v_more FROM u WHERE u.written;
    IF coalesce(cardinality(v_ids), 0) < cardinality(p_ids) THEN
        PERFORM taskyard.task_refuse_skipped(p_ids, p_tokens);
    END IF;
    IF cardinality(p_closed) > 0 THEN
        PERFORM taskyard.claim_close(p_closed);
    END IF;
    IF EXISTS (SELECT FROM taskyard.signal) THEN
        DELETE FROM taskyard.signal s WHERE s.task_id = ANY(v_ids) AND s.token = ANY(p_tokens);
    END IF;
    IF v_ready IS NOT NULL THEN
        PERFORM taskyard.ready_insert(v_ready);
    END IF;
    IF v_more THEN
        PERFORM taskyard.task_ended(v_ended, v_now);
    END IF;
    IF v_parents IS NOT NULL THEN
        SELECT c.woken INTO v_woken FROM taskyard.cascade_begin(v_parents, v_kinds, 1000, v_now) c;
    END IF;
    place := 0;
    reply := (v_ready IS NOT NULL OR v_woken > 0 OR coalesce(0 = ANY(v_states), false))::int;
    state := (v_ended IS NOT NULL)::int;
    RETURN NEXT;
    RETURN QUERY SELECT a.place::int, 0::smallint, a.state FROM unnest(v_places, v_states) AS a(place, state);
    IF coalesce(cardinality(v_places), 0) < cardinality(p_ids) THEN
        RETURN QUERY SELECT n.place::int, CASE WHEN t.token = n.token AND t.state <> 2 THEN 1 ELSE 2 END::smallint,
            coalesce(t.state, 0::smallint)
        FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS n(id, token, place) LEFT JOIN taskyard.task t ON t.id = n.id
        WHERE n.place NOT IN (SELECT unnest(v_places));
    END IF;
END
$$;
