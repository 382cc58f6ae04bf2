-- Refuses ends that a trigger has skipped: it returned NULL, or the row as it was. Called behind the update, for ends of which some
-- were not applied. Without it such a task would keep its state while its claim is closed, and never run again.
CREATE OR REPLACE FUNCTION taskyard.task_refuse_skipped(p_ids uuid[], p_tokens uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id uuid;
BEGIN
    SELECT t.id INTO v_id FROM unnest(p_ids, p_tokens) AS n(id, token)
        JOIN taskyard.task t ON t.id = n.id AND t.token = n.token AND t.state = 2 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a trigger on taskyard.task skipped the update that ends task %', v_id USING ERRCODE = '09000',
            HINT = 'A BEFORE UPDATE trigger that returns NULL or OLD changes nothing: return NEW, or raise an error.';
    END IF;
END
$$;

-- The common end: every item is done, with nothing else to write. Ids without doubles, sorted. The answer is empty if
-- all were applied; else one row per item that was not (place from 1; reply 1 = applied earlier, 2 = lost). A row with
-- place 0 says that children became runnable.
CREATE OR REPLACE FUNCTION taskyard.task_finish_done(
    p_ids uuid[], p_tokens uuid[], p_results bytea[], p_closed uuid[]
) RETURNS TABLE (place int, reply smallint, state smallint) LANGUAGE plpgsql ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
    v_applied uuid[];
    v_parents uuid[];
    v_more uuid[];
    v_woken int;
BEGIN
    WITH u AS (
        UPDATE taskyard.task t SET state = 4, result = n.result, finished_at = v_now, cancel_requested = false,
            stop_requested = false
        FROM unnest(p_ids, p_tokens, p_results) AS n(id, token, result)
        WHERE t.id = n.id AND t.token = n.token AND t.state = 2
        RETURNING t.id, t.state = 4 AS written, t.has_children, t.auto_remove OR t.unique_hold IS NOT NULL OR t.expires_at IS NOT NULL AS more
    )
    SELECT array_agg(u.id) FILTER (WHERE u.written), array_agg(u.id) FILTER (WHERE u.has_children), array_agg(u.id) FILTER (WHERE u.more)
    INTO v_applied, v_parents, v_more FROM u;
    -- As claim_close, which a common end need not call.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM taskyard.claim_close(p_closed);
    ELSIF cardinality(p_closed) > 0 THEN
        DELETE FROM taskyard.claim k WHERE k.id = ANY(p_closed);
    END IF;
    IF EXISTS (SELECT FROM taskyard.signal) THEN
        DELETE FROM taskyard.signal s WHERE s.task_id = ANY(v_applied) AND s.token = ANY(p_tokens);
    END IF;
    IF v_more IS NOT NULL THEN
        PERFORM taskyard.task_ended(v_more, v_now);
    END IF;
    IF v_parents IS NOT NULL THEN
        -- A statement of its own, with a snapshot of its own: a child that was added while this call waited for its
        -- parent's lock is seen here.
        SELECT c.woken INTO v_woken
        FROM taskyard.cascade_begin(v_parents, array_fill(0::smallint, ARRAY[cardinality(v_parents)]), 1000, v_now) c;
        IF v_woken > 0 THEN
            place := 0;
            reply := 0;
            state := 0;
            RETURN NEXT;
        END IF;
    END IF;
    IF coalesce(cardinality(v_applied), 0) < cardinality(p_ids) THEN
        PERFORM taskyard.task_refuse_skipped(p_ids, p_tokens);
        RETURN QUERY SELECT n.place::int,
            CASE WHEN t.token = n.token AND t.state <> 2 THEN 1 ELSE 2 END::smallint, coalesce(t.state, 0::smallint)
        FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS n(id, token, place) LEFT JOIN taskyard.task t ON t.id = n.id
        WHERE n.id NOT IN (SELECT unnest(v_applied));
    END IF;
END
$$;
