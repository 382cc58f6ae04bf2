-- Cancels tasks one after the other, or asks their servers to. reply: 0 applied, 1 asked, 2 refused, 3 unknown. The row
-- with place 0 tells what was woken (reply) and ended (state).
CREATE OR REPLACE FUNCTION taskyard.task_cancel(p_ids uuid[]) RETURNS TABLE (place int, reply smallint, state smallint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
    v_id uuid;
    v_task record;
    v_budget int := 1000;
    v_cascade record;
    v_got boolean;
    v_woken int := 0;
    v_ended int := 0;
BEGIN
    FOR v_place IN 1..coalesce(cardinality(p_ids), 0) LOOP
        v_id := p_ids[v_place];
        -- Whoever takes the row out of `ready` or `waiting` decides; who comes too late looks again.
        FOR v_try IN 1..1000 LOOP
            SELECT t.state, t.finished_at INTO v_task FROM taskyard.task t WHERE t.id = v_id;
            place := v_place;
            state := coalesce(v_task.state, 0);
            IF v_task.state IS NULL THEN
                reply := 3;
                EXIT;
            ELSIF v_task.state = 2 THEN
                UPDATE taskyard.task t SET cancel_requested = true WHERE t.id = v_id AND t.state = 2;
                IF FOUND THEN
                    INSERT INTO taskyard.signal (server_id, task_id, token, cancel)
                    SELECT t.server_id, t.id, t.token, true FROM taskyard.task t
                    WHERE t.id = v_id AND t.server_id IS NOT NULL AND t.token IS NOT NULL
                    ON CONFLICT (server_id, task_id) DO UPDATE SET cancel = true, token = excluded.token;
                    reply := 1;
                    EXIT;
                END IF;
            ELSIF v_task.state IN (0, 1, 3) THEN
                IF v_task.state = 3 OR v_try > 100 THEN
                    -- Beyond 100 tries: a row edited by hand, with nothing to take it out of.
                    UPDATE taskyard.task t SET state = 6, finished_at = v_now
                    WHERE t.id = v_id AND t.state IN (0, 1, 3);
                    v_got := FOUND;
                    IF v_got AND v_task.state = 3 THEN
                        -- The attempt was stopped, whatever its task is now.
                        INSERT INTO taskyard.attempt (task_id, server_id, started_at, ended_at, number, outcome)
                        SELECT v_id, t.server_id, t.started_at, v_task.finished_at, t.attempt, 6 FROM taskyard.task t
                        WHERE t.id = v_id AND t.attempt > 0 AND NOT EXISTS (
                            SELECT FROM taskyard.attempt a WHERE a.task_id = v_id AND a.number = t.attempt);
                    END IF;
                ELSE
                    v_got := cardinality(taskyard.task_detach(ARRAY[v_id])) > 0;
                    UPDATE taskyard.task t SET state = 6, finished_at = v_now WHERE v_got AND t.id = v_id;
                END IF;
                IF v_got THEN
                    PERFORM taskyard.task_ended(ARRAY[v_id], v_now);
                    -- Read again: a child may have come while the row was waited for.
                    IF (SELECT t.has_children FROM taskyard.task t WHERE t.id = v_id) THEN
                        SELECT c.* INTO v_cascade FROM taskyard.cascade_begin(ARRAY[v_id], ARRAY[2::smallint], v_budget, v_now) c;
                        v_budget := greatest(v_budget - v_cascade.edges, 0);
                        v_woken := v_woken + v_cascade.woken;
                    END IF;
                    v_ended := v_ended + 1;
                    reply := 0;
                    state := 6;
                    EXIT;
                END IF;
            ELSE
                reply := 2;
                EXIT;
            END IF;
        END LOOP;
        RETURN NEXT;
    END LOOP;
    place := 0;
    reply := (v_woken > 0)::int;
    state := (v_ended > 0)::int;
    RETURN NEXT;
END
$$;
