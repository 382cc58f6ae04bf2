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
-- p_groups: the groups of kinds that are looked at besides group 0. Rows of all lanes and groups are merged by order without
-- a lock, and only those that the claim takes are locked: rows that were read in vain stay free for the claims of others. Where
-- some of them turn out to be locked, the next ones behind them are taken.
DROP FUNCTION IF EXISTS taskyard.ready_choose(smallint, text[], int, boolean, int, bigint);
CREATE OR REPLACE FUNCTION taskyard.ready_choose_of(
    p_runtime smallint, p_queues text[], p_limit int, p_alone boolean, p_rank int, p_order bigint, p_groups int[]
) RETURNS taskyard.candidate[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows taskyard.candidate[];
    v_locked taskyard.candidate[];
    v_chosen taskyard.candidate[] := '{}';
    v_row record;
    v_queue record;
    v_now timestamptz := taskyard.now();
    v_around boolean := coalesce(current_setting('taskyard.around_locks', true), '') IN ('on', 'met');
    v_bases bigint[] := ARRAY(SELECT u.id::bigint << 32 FROM unnest(0 || p_groups) AS u(id));
    v_limits boolean := EXISTS (
        SELECT FROM taskyard.queue q WHERE q.paused OR q.running_max IS NOT NULL OR q.rate_count IS NOT NULL);
    v_left int := p_limit;
    v_take int := p_limit;
    v_free int;
    v_count int;
    v_is_smaller boolean;
    -- The lanes that are read: the queue (null in the common lane), behind which row, how many may be taken at most (null: any
    -- number), how many starts are left to what must run alone, and whether these numbers hold until the commit.
    v_lanes bigint[] := '{}';
    v_names text[] := '{}';
    v_ranks int[] := '{}';
    v_orders bigint[] := '{}';
    v_frees int[] := '{}';
    v_spared int[] := '{}';
    v_held boolean[] := '{}';
    -- Of each row of v_rows: in which of these it is, and the lane with its group.
    v_ats bigint[];
    v_got bigint[];
    v_row_lanes bigint[];
BEGIN
    IF p_alone THEN
        FOR v_row IN
            SELECT l.* FROM unnest(v_bases) AS b(base) CROSS JOIN LATERAL (
                SELECT r.lane, r.rank, r.order_number, r.turn, r.ctid AS place, r.queue FROM taskyard.ready r
                WHERE r.lane = b.base - 1 - p_runtime AND (p_queues IS NULL OR r.queue = ANY(p_queues))
                ORDER BY r.lane, r.rank, r.order_number LIMIT 1000) l
            ORDER BY l.rank, l.order_number
        LOOP
            v_free := taskyard.queue_free(v_row.queue);
            CONTINUE WHEN v_free <= 0;
            SELECT array_agg(l::taskyard.candidate) INTO v_locked FROM (
                SELECT r.rank, r.order_number, r.turn, r.ctid, r.queue FROM taskyard.ready r
                WHERE r.turn = v_row.turn AND r.ctid = v_row.place AND r.lane + 0 = v_row.lane
                    AND r.order_number = v_row.order_number AND (NOT v_around OR taskyard.task_lock(r.task_id))
                FOR UPDATE SKIP LOCKED) l;
            IF v_locked IS NOT NULL THEN
                RETURN v_locked;
            END IF;
        END LOOP;
        RETURN NULL;
    END IF;
    IF p_queues IS NULL OR EXISTS (
        SELECT FROM unnest(p_queues) AS n(name)
        WHERE NOT EXISTS (SELECT FROM taskyard.queue q WHERE q.name = n.name AND q.apart = 2))
    THEN
        v_lanes := ARRAY[p_runtime::bigint];
        v_names := ARRAY[NULL::text];
        v_ranks := ARRAY[p_rank];
        v_orders := ARRAY[p_order];
        v_frees := ARRAY[NULL::int];
        v_spared := ARRAY[0];
        v_held := ARRAY[true];
        FOR i IN 1..100 LOOP
            EXIT WHEN NOT v_limits;
            WITH s AS MATERIALIZED (
                SELECT l.turn, l.place, l.lane, q.lane AS own FROM unnest(v_bases) AS b(base) CROSS JOIN LATERAL (
                    SELECT r.lane, r.turn, r.ctid AS place, r.queue FROM taskyard.ready r
                    WHERE r.lane = b.base + p_runtime AND (r.rank, r.order_number) > (p_rank, p_order)
                        AND (p_queues IS NULL OR r.queue = ANY(p_queues))
                    ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit) l
                    JOIN taskyard.queue q ON q.name = l.queue
                WHERE q.paused OR q.running_max IS NOT NULL OR q.rate_count IS NOT NULL
            ), k AS MATERIALIZED (
                SELECT k.turn, k.place, s.lane + s.own AS lane FROM s CROSS JOIN LATERAL (
                    SELECT r.turn, r.ctid AS place FROM taskyard.ready r
                    WHERE r.turn = s.turn AND r.ctid = s.place AND r.lane + 0 = s.lane FOR UPDATE SKIP LOCKED) k
            )
            UPDATE taskyard.ready r SET lane = k.lane FROM k WHERE r.turn = k.turn AND r.ctid = k.place;
            EXIT WHEN NOT FOUND;
        END LOOP;
    END IF;
    FOR v_queue IN
        SELECT q.name, 2 * q.id + 2 + p_runtime AS lane, q.rate_count IS NOT NULL AS rated,
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
        -- One start is left to what must run alone, or what is always ready would take each that comes.
        v_count := CASE WHEN v_queue.rated AND EXISTS (
            SELECT FROM unnest(v_bases) AS b(base) JOIN taskyard.ready r ON r.lane = b.base - 1 - p_runtime
            WHERE r.queue = v_queue.name) THEN 1 ELSE 0 END;
        -- Without the queue's lock, which only a claim that takes something of it needs.
        v_free := CASE WHEN v_queue.limited THEN taskyard.queue_room(v_queue.name) - v_count END;
        CONTINUE WHEN v_free <= 0;
        v_lanes := v_lanes || v_queue.lane::bigint;
        v_names := v_names || v_queue.name;
        -- A limited queue leaves tasks behind the place for want of room.
        v_ranks := v_ranks || CASE WHEN v_queue.limited THEN -2147483648 ELSE p_rank END;
        v_orders := v_orders || CASE WHEN v_queue.limited THEN -9223372036854775808 ELSE p_order END;
        v_frees := v_frees || v_free;
        v_spared := v_spared || v_count;
        v_held := v_held || NOT v_queue.limited;
    END LOOP;
    WHILE v_left > 0 LOOP
        SELECT array_agg((l.rank, l.order_number, l.turn, l.place, l.queue)::taskyard.candidate), array_agg(l.lane), array_agg(l.at)
        INTO v_rows, v_row_lanes, v_ats FROM (
            SELECT m.*, q.at FROM unnest(v_lanes, v_ranks, v_orders, v_frees) WITH ORDINALITY AS q(lane, rank, order_number, free, at)
                CROSS JOIN LATERAL (
                    SELECT c.* FROM unnest(v_bases) AS b(base) CROSS JOIN LATERAL (
                        SELECT r.lane, r.rank, r.order_number, r.turn, r.ctid AS place, r.queue FROM taskyard.ready r
                        WHERE r.lane = b.base + q.lane AND (r.rank, r.order_number) > (q.rank, q.order_number)
                            AND (p_queues IS NULL OR r.queue = ANY(p_queues))
                        ORDER BY r.lane, r.rank, r.order_number LIMIT least(v_take, q.free)) c
                    ORDER BY c.rank, c.order_number LIMIT least(v_take, q.free)) m
            ORDER BY m.rank, m.order_number LIMIT v_take) l;
        EXIT WHEN v_rows IS NULL;
        v_is_smaller := false;
        FOR v_queue IN SELECT u.at, count(*)::int AS wanted FROM unnest(v_ats) AS u(at) GROUP BY u.at ORDER BY u.at LOOP
            CONTINUE WHEN v_held[v_queue.at];
            v_free := coalesce(taskyard.queue_free(v_names[v_queue.at]) - v_spared[v_queue.at], v_frees[v_queue.at]);
            v_held[v_queue.at] := true;
            IF v_free < v_frees[v_queue.at] THEN
                v_frees[v_queue.at] := greatest(v_free, 0);
                v_is_smaller := v_is_smaller OR v_free < v_queue.wanted;
            END IF;
        END LOOP;
        CONTINUE WHEN v_is_smaller;
        -- Another statement, whose snapshot is younger: a row that has changed since is not taken.
        SELECT array_agg((l.rank, l.order_number, l.turn, l.place, l.queue)::taskyard.candidate), array_agg(l.at)
        INTO v_locked, v_got FROM (
            SELECT k.*, u.at FROM unnest(v_rows, v_row_lanes, v_ats) WITH ORDINALITY
                AS u(rank, order_number, turn, place, queue, lane, at, row_number)
                CROSS JOIN LATERAL (
                    SELECT r.rank, r.order_number, r.turn, r.ctid AS place, r.queue FROM taskyard.ready r
                    WHERE r.turn = u.turn AND r.ctid = u.place AND r.lane + 0 = u.lane AND r.order_number = u.order_number
                        AND (NOT v_around OR taskyard.task_lock(r.task_id))
                        AND NOT (v_limits AND u.at = 1 AND v_names[1] IS NULL AND EXISTS (
                            SELECT FROM taskyard.queue q WHERE q.name = r.queue
                                AND (q.paused OR q.running_max IS NOT NULL OR q.rate_count IS NOT NULL)))
                    FOR UPDATE SKIP LOCKED) k
            LIMIT v_left) l;
        v_count := coalesce(cardinality(v_locked), 0);
        v_chosen := v_chosen || v_locked;
        v_left := v_left - v_count;
        EXIT WHEN v_count = cardinality(v_rows);
        -- Behind what was tried in each lane, and more of it at once: somebody may hold thousands of rows.
        FOR v_queue IN
            SELECT t.at, t.last, (SELECT count(*)::int FROM unnest(v_got) AS g(at) WHERE g.at = t.at) AS got
            FROM (SELECT u.at, max(u.row_number) AS last FROM unnest(v_ats) WITH ORDINALITY AS u(at, row_number) GROUP BY u.at) t
        LOOP
            v_ranks[v_queue.at] := (v_rows[v_queue.last]).rank;
            v_orders[v_queue.at] := (v_rows[v_queue.last]).order_number;
            v_frees[v_queue.at] := v_frees[v_queue.at] - v_queue.got;
        END LOOP;
        v_take := greatest(v_left, least(2 * v_take, 1000));
    END LOOP;
    RETURN nullif(v_chosen, '{}');
END
$$;
