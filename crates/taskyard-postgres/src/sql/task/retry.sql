-- Retries failed, cancelled or stopped tasks, one after the other. reply: 0 applied, 2 refused, 3 unknown, 4 a cascade of
-- this task is still being worked off: call cascade_step and ask again, 5 another task (holder) holds its unique key. The
-- row with place 0 tells what was woken.
CREATE OR REPLACE FUNCTION taskyard.task_retry_unique(p_ids uuid[])
RETURNS TABLE (place int, reply smallint, state smallint, holder uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
    v_id uuid;
    v_task taskyard.task;
    v_budget int := 1000;
    v_cascade record;
    v_woken int := 0;
BEGIN
    FOR v_place IN 1..coalesce(cardinality(p_ids), 0) LOOP
        v_id := p_ids[v_place];
        place := v_place;
        holder := NULL;
        SELECT t.* INTO v_task FROM taskyard.task t WHERE t.id = v_id FOR NO KEY UPDATE;
        state := coalesce(v_task.state, 0);
        IF v_task.id IS NULL THEN
            reply := 3;
        ELSIF v_task.state NOT IN (3, 5, 6) THEN
            reply := 2;
        ELSIF EXISTS (SELECT FROM taskyard.cascade k WHERE k.task_id = v_id)
            OR EXISTS (SELECT FROM taskyard.cascade k WHERE k.root = v_id) THEN
            reply := 4;
        ELSE
            holder := taskyard.unique_key_retake(v_id, v_now);
            reply := CASE WHEN holder IS NULL THEN 0 ELSE 5 END;
        END IF;
        IF reply = 0 THEN
            -- The attempt that ended the task lived in its row; from now on it is history.
            IF v_task.attempt > 0 AND v_task.started_at IS NOT NULL AND v_task.fallen_from IS NULL
                AND NOT EXISTS (SELECT FROM taskyard.attempt a WHERE a.task_id = v_id AND a.number = v_task.attempt) THEN
                INSERT INTO taskyard.attempt (task_id, server_id, started_at, ended_at, number, outcome, error_type,
                    error_message, error_traceback)
                VALUES (v_id, v_task.server_id, v_task.started_at, v_task.finished_at, v_task.attempt,
                    CASE v_task.state WHEN 3 THEN 6 WHEN 5 THEN 2 ELSE 7 END,
                    CASE WHEN v_task.state = 5 THEN v_task.error_type END,
                    CASE WHEN v_task.state = 5 THEN v_task.error_message END,
                    CASE WHEN v_task.state = 5 THEN v_task.error_traceback END);
            END IF;
            UPDATE taskyard.task t SET failures = 0, lost = 0, crashes = 0, alone = false, token = NULL, result = NULL,
                run_at = NULL, expires_at = NULL, cancel_requested = false, stop_requested = false,
                cancel_reason = NULL
            WHERE t.id = v_id;
            IF v_task.expires_at IS NOT NULL THEN
                DELETE FROM taskyard.deadline d WHERE d.task_id = v_id;
            END IF;
            state := (taskyard.cascade_revive(ARRAY[v_id], v_now))[1];
            v_woken := v_woken + (state = 1)::int;
            IF v_task.has_children THEN
                SELECT c.* INTO v_cascade FROM taskyard.cascade_begin(ARRAY[v_id], ARRAY[3::smallint], v_budget, v_now) c;
                v_budget := greatest(v_budget - v_cascade.edges, 0);
                v_woken := v_woken + v_cascade.woken;
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    place := 0;
    reply := (v_woken > 0)::int;
    state := 0;
    holder := NULL;
    RETURN NEXT;
END
$$;

-- The same for programs that know no reply 5.
CREATE OR REPLACE FUNCTION taskyard.task_retry(p_ids uuid[]) RETURNS TABLE (place int, reply smallint, state smallint)
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.place, CASE r.reply WHEN 5 THEN 2 ELSE r.reply END::smallint, r.state FROM taskyard.task_retry_unique(p_ids) r
$$;
