-- Lets the two parts of `ready` take turns. The one that has grown beyond p_size bytes takes no new rows once the other is
-- empty; when it has run empty itself, it is truncated, which no old snapshot prevents. A few stragglers (a paused queue's,
-- say) are moved to the other part. Answers whether another step is worth while.
--
-- Which part a row lies in is never of meaning: every reader reads both, and an insert may land in either.
CREATE OR REPLACE FUNCTION taskyard.ready_turn_over(p_size bigint) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '50ms' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_turn smallint;
    v_moved int;
    v_sizes bigint[] := ARRAY[pg_relation_size('taskyard.ready_0'), pg_relation_size('taskyard.ready_1')];
BEGIN
    -- The common case takes no lock.
    PERFORM FROM taskyard.ready_turn o WHERE v_sizes[o.turn + 1] <= p_size AND v_sizes[2 - o.turn] = 0;
    IF FOUND THEN
        RETURN false;
    END IF;
    SELECT o.turn INTO v_turn FROM taskyard.ready_turn o FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF v_sizes[2 - v_turn] = 0 THEN
        IF v_sizes[v_turn + 1] > p_size THEN
            UPDATE taskyard.ready_turn SET turn = 1 - v_turn;
        END IF;
        RETURN false;
    END IF;
    -- The part that empties. What the statistics call alive is near enough to tell stragglers from a backlog.
    IF pg_stat_get_live_tuples(('taskyard.ready_' || 1 - v_turn)::regclass) > 10000 THEN
        RETURN false;
    END IF;
    IF v_sizes[v_turn + 1] > p_size THEN
        -- Deleted and inserted, not updated: a claim that meets a row on its way to another part would fail.
        WITH c AS MATERIALIZED (
            SELECT r.ctid AS place FROM taskyard.ready r WHERE r.turn = 1 - v_turn LIMIT 1000 FOR UPDATE SKIP LOCKED
        ), d AS (
            DELETE FROM taskyard.ready r USING c WHERE r.turn = 1 - v_turn AND r.ctid = c.place
            RETURNING r.order_number, r.task_id, r.lane, r.rank, r.queue, r.ages_at
        )
        INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn, ages_at)
        SELECT d.order_number, d.task_id, d.lane, d.rank, d.queue, v_turn, d.ages_at FROM d;
        GET DIAGNOSTICS v_moved = ROW_COUNT;
        IF v_moved > 0 THEN
            RETURN true;
        END IF;
    END IF;
    IF v_turn = 0 THEN
        IF NOT EXISTS (SELECT FROM taskyard.ready_1) THEN
            LOCK TABLE taskyard.ready_1 IN ACCESS EXCLUSIVE MODE;
            IF NOT EXISTS (SELECT FROM taskyard.ready_1) THEN
                TRUNCATE taskyard.ready_1;
            END IF;
        END IF;
    ELSIF NOT EXISTS (SELECT FROM taskyard.ready_0) THEN
        LOCK TABLE taskyard.ready_0 IN ACCESS EXCLUSIVE MODE;
        IF NOT EXISTS (SELECT FROM taskyard.ready_0) THEN
            TRUNCATE taskyard.ready_0;
        END IF;
    END IF;
    RETURN false;
EXCEPTION WHEN lock_not_available OR insufficient_privilege THEN
    -- Somebody reads it in a transaction that stays open. The next step tries again; nothing depends on it.
    RETURN false;
END
$$;
