-- Locks the row of a runnable task, and the unique key that starting it frees, unless another transaction holds one of them:
-- false then, which the claim under way notes.
CREATE OR REPLACE FUNCTION taskyard.task_lock(p_id uuid) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_hold smallint;
    v_key text;
    v_free boolean;
BEGIN
    SELECT t.unique_hold, t.unique_key INTO v_hold, v_key FROM taskyard.task t WHERE t.id = p_id
    FOR NO KEY UPDATE SKIP LOCKED;
    v_free := FOUND OR NOT EXISTS (SELECT FROM taskyard.task t WHERE t.id = p_id);
    IF v_free AND v_hold = 1 THEN
        PERFORM FROM taskyard.unique_key k WHERE k.key = v_key AND k.task_id = p_id FOR UPDATE SKIP LOCKED;
        v_free := FOUND OR NOT EXISTS (SELECT FROM taskyard.unique_key k WHERE k.key = v_key AND k.task_id = p_id);
    END IF;
    IF NOT v_free THEN
        PERFORM set_config('taskyard.around_locks', 'met', true);
    END IF;
    RETURN v_free;
END
$$;

-- Chooses and locks what a claim takes while some queue is paused, limited, set apart or still draining, or one task for
-- the alone lane. For `task_claim_around` it passes over tasks that other transactions hold locked.
--
-- A claim for queues that are all set apart does not look at the common lane. A row of a paused or limited queue that lies
-- there (added while the queue was being changed) is moved to the queue's own lane here: that the change moves them is a
-- matter of speed, not of correctness.
--
-- p_groups: the groups of kinds that are looked at besides group 0. Each lane is read in each of them, merged by order.
DROP FUNCTION IF EXISTS taskyard.ready_choose(smallint, text[], int, boolean, int, bigint);
CREATE OR REPLACE FUNCTION taskyard.ready_choose_of(
    p_runtime smallint, p_queues text[], p_limit int, p_alone boolean, p_rank int, p_order bigint, p_groups int[]
) RETURNS taskyard.candidate[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows taskyard.candidate[];
    v_more taskyard.candidate[];
    v_stray taskyard.candidate[];
    v_row taskyard.candidate;
    v_queue record;
    v_free int;
    v_rank int;
    v_order bigint;
    v_now timestamptz := taskyard.now();
    v_around boolean := coalesce(current_setting('taskyard.around_locks', true), '') IN ('on', 'met');
    v_bases bigint[] := ARRAY(SELECT u.id::bigint << 32 FROM unnest(0 || p_groups) AS u(id));
BEGIN
    IF p_alone THEN
        FOR v_row IN
            SELECT l.* FROM unnest(v_bases) AS b(base) CROSS JOIN LATERAL (
                SELECT r.rank, r.order_number, r.turn, r.ctid, r.queue FROM taskyard.ready r
                WHERE r.lane = b.base - 1 - p_runtime AND (p_queues IS NULL OR r.queue = ANY(p_queues))
                    AND (NOT v_around OR taskyard.task_lock(r.task_id))
                ORDER BY r.lane, r.rank, r.order_number LIMIT 1000 FOR UPDATE SKIP LOCKED) l
            ORDER BY l.rank, l.order_number
        LOOP
            v_free := taskyard.queue_free(v_row.queue);
            IF v_free IS NULL OR v_free > 0 THEN
                RETURN ARRAY[v_row];
            END IF;
        END LOOP;
        RETURN NULL;
    END IF;
    FOR i IN 1..100 LOOP
        EXIT WHEN p_queues IS NOT NULL AND NOT EXISTS (
            SELECT FROM unnest(p_queues) AS n(name)
            WHERE NOT EXISTS (SELECT FROM taskyard.queue q WHERE q.name = n.name AND q.apart = 2));
        SELECT array_agg(l::taskyard.candidate) INTO v_rows FROM (
            SELECT c.* FROM unnest(v_bases) AS b(base) CROSS JOIN LATERAL (
                SELECT r.rank, r.order_number, r.turn, r.ctid, r.queue FROM taskyard.ready r
                WHERE r.lane = b.base + p_runtime AND (r.rank, r.order_number) > (p_rank, p_order)
                    AND (p_queues IS NULL OR r.queue = ANY(p_queues))
                    AND (NOT v_around OR taskyard.task_lock(r.task_id))
                ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit FOR UPDATE SKIP LOCKED) c) l;
        v_stray := NULL;
        IF v_rows IS NOT NULL AND EXISTS (SELECT FROM taskyard.queue q WHERE q.paused OR q.running_max IS NOT NULL OR q.rate_count IS NOT NULL) THEN
            SELECT array_agg(l) INTO v_stray FROM unnest(v_rows) l
            WHERE l.queue IN (SELECT q.name FROM taskyard.queue q WHERE q.paused OR q.running_max IS NOT NULL OR q.rate_count IS NOT NULL);
        END IF;
        EXIT WHEN v_stray IS NULL;
        UPDATE taskyard.ready r SET lane = r.lane + q.lane
        FROM unnest(v_stray) s JOIN taskyard.queue q ON q.name = s.queue
        WHERE (q.paused OR q.running_max IS NOT NULL OR q.rate_count IS NOT NULL) AND r.turn = s.turn AND r.ctid = s.place;
        v_rows := NULL;
    END LOOP;
    FOR v_queue IN
        SELECT q.id, q.name, q.rate_count IS NOT NULL AS rated,
            q.running_max IS NOT NULL OR q.rate_count IS NOT NULL AS limited
        FROM taskyard.queue q
        WHERE (q.lane <> 0 OR q.draining) AND NOT q.paused
            AND coalesce(taskyard.rate_free(q.rate_count, q.rate_us, q.rate_full_at, v_now), 1) > 0 AND (p_queues IS NULL OR q.name = ANY(p_queues))
            -- One probe for each: as EXISTS, it would be planned as one look through all of the range.
            AND (SELECT 1 FROM unnest(v_bases) AS b(base) CROSS JOIN LATERAL (
                SELECT FROM taskyard.ready r WHERE r.lane = b.base + 2 * q.id + 2 + p_runtime
                    AND (q.running_max IS NOT NULL OR q.rate_count IS NOT NULL OR (r.rank, r.order_number) > (p_rank, p_order))
                LIMIT 1) l LIMIT 1) IS NOT NULL
        ORDER BY q.id
    LOOP
        v_free := coalesce(taskyard.queue_free(v_queue.name), p_limit);
        IF v_queue.rated AND EXISTS (
            SELECT FROM unnest(v_bases) AS b(base) JOIN taskyard.ready r ON r.lane = b.base - 1 - p_runtime
            WHERE r.queue = v_queue.name)
        THEN
            -- One start is left to what must run alone, or what is always ready would take each that comes.
            v_free := v_free - 1;
        END IF;
        CONTINUE WHEN v_free <= 0;
        -- A limited queue leaves tasks behind the place for want of room.
        v_rank := CASE WHEN v_queue.limited THEN -2147483648 ELSE p_rank END;
        v_order := CASE WHEN v_queue.limited THEN -9223372036854775808 ELSE p_order END;
        SELECT array_agg(l::taskyard.candidate) INTO v_more FROM (
            SELECT c.* FROM unnest(v_bases) AS b(base) CROSS JOIN LATERAL (
                SELECT r.rank, r.order_number, r.turn, r.ctid, r.queue FROM taskyard.ready r
                WHERE r.lane = b.base + 2 * v_queue.id + 2 + p_runtime AND (r.rank, r.order_number) > (v_rank, v_order)
                    AND (NOT v_around OR taskyard.task_lock(r.task_id))
                ORDER BY r.lane, r.rank, r.order_number LIMIT least(p_limit, v_free) FOR UPDATE SKIP LOCKED) c
            ORDER BY c.rank, c.order_number LIMIT least(p_limit, v_free)) l;
        v_rows := v_rows || v_more;
    END LOOP;
    IF cardinality(v_rows) > p_limit THEN
        SELECT array_agg(l.a) INTO v_rows FROM (
            SELECT a FROM unnest(v_rows) a ORDER BY a.rank, a.order_number LIMIT p_limit) l;
    END IF;
    RETURN v_rows;
END
$$;
