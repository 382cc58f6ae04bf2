-- Gives tasks that wait or are enqueued another priority. reply: 0 applied, 2 refused, 3 unknown. The row with place 0 tells
-- whether a runnable one was moved.
CREATE OR REPLACE FUNCTION taskyard.task_set_priority(p_ids uuid[], p_priority int)
RETURNS TABLE (place int, reply smallint, state smallint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_id uuid;
    v_task record;
    v_got boolean;
    v_moved boolean := false;
BEGIN
    FOR v_place IN 1..coalesce(cardinality(p_ids), 0) LOOP
        v_id := p_ids[v_place];
        place := v_place;
        -- As in a claim, the row in `ready` or `waiting` is locked before the task's own; who comes too late looks again.
        FOR v_try IN 1..1000 LOOP
            SELECT t.state, t.priority, t.order_number,
                taskyard.ready_lanes(ARRAY[t.runtime::int, -1 - t.runtime::int, coalesce(2 * q.id + 2, 0) + t.runtime]) AS lanes
            INTO v_task
            FROM taskyard.task t LEFT JOIN taskyard.queue q ON q.name = t.queue WHERE t.id = v_id;
            state := coalesce(v_task.state, 0);
            reply := CASE WHEN v_task.state IS NULL THEN 3 WHEN v_task.state NOT IN (0, 1) THEN 2 ELSE 0 END;
            EXIT WHEN reply > 0;
            IF v_task.state = 1 THEN
                -- What it has aged it keeps.
                UPDATE taskyard.ready r
                SET rank = greatest(r.rank::bigint + v_task.priority - p_priority, -2147483648)
                WHERE r.lane = ANY(v_task.lanes) AND r.rank = ~v_task.priority
                    AND r.order_number = v_task.order_number AND r.task_id = v_id;
                v_got := FOUND;
                IF NOT v_got THEN
                    UPDATE taskyard.ready r
                    SET rank = greatest(r.rank::bigint + v_task.priority - p_priority, -2147483648)
                    WHERE r.ages_at IS NOT NULL AND r.task_id = v_id AND r.rank <= ~v_task.priority;
                    v_got := FOUND;
                END IF;
            ELSE
                PERFORM FROM taskyard.waiting w WHERE w.task_id = v_id FOR UPDATE;
                v_got := FOUND;
            END IF;
            IF v_got OR v_try > 100 THEN
                -- Beyond 100 tries: a row edited by hand, which stands in no range.
                UPDATE taskyard.task t SET priority = p_priority WHERE t.id = v_id AND t.state = v_task.state;
                v_moved := v_moved OR v_task.state = 1;
                EXIT;
            END IF;
        END LOOP;
        RETURN NEXT;
    END LOOP;
    place := 0;
    reply := v_moved::int;
    state := 0;
    RETURN NEXT;
END
$$;
