-- One step of ageing: of up to p_limit rows whose time has come, those of a queue that ages move up by one priority for each
-- time that has passed, those of one that ages no more go back to where their task's priority puts them. Answers how many, and
-- in how many microseconds the next one is due (null: never).
CREATE OR REPLACE FUNCTION taskyard.queue_age(p_limit int, OUT tasks int, OUT more boolean, OUT due_us bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    WITH c AS MATERIALIZED (
        SELECT r.turn, r.ctid AS place, r.queue, r.ages_at, r.task_id FROM taskyard.ready r
        WHERE r.ages_at <= v_now ORDER BY r.ages_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), s AS MATERIALIZED (
        SELECT c.*, q.ageing_us,
            1 + floor(extract(epoch FROM v_now - greatest(c.ages_at, v_now - interval '36525 days')) * 1000000
                / q.ageing_us)::bigint AS times
        FROM c LEFT JOIN taskyard.queue q ON q.name = c.queue
    )
    UPDATE taskyard.ready r SET
        rank = CASE WHEN s.ageing_us IS NULL THEN ~(SELECT t.priority FROM taskyard.task t WHERE t.id = s.task_id)
            ELSE greatest(r.rank - s.times, -2147483648) END,
        ages_at = CASE WHEN s.ageing_us IS NOT NULL
            THEN greatest(s.ages_at, v_now - interval '36525 days') + s.times * s.ageing_us * interval '1 microsecond' END
    FROM s WHERE r.turn = s.turn AND r.ctid = s.place;
    GET DIAGNOSTICS tasks = ROW_COUNT;
    more := tasks >= p_limit;
    SELECT taskyard.micros_until(r.ages_at, v_now) INTO due_us
    FROM taskyard.ready r WHERE r.ages_at IS NOT NULL ORDER BY r.ages_at LIMIT 1;
END
$$;
