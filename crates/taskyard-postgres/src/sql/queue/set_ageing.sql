-- Makes a queue age (p_every_us), or not any more (null). It gets a lane of its own, so that whatever puts rows there knows to
-- say when they age; the rows that lie elsewhere are moved by queue_settle, those that say nothing are told by queue_stamp.
CREATE OR REPLACE FUNCTION taskyard.queue_set_ageing(p_queue text, p_every_us bigint) RETURNS void LANGUAGE plpgsql SET lock_timeout = '5s'
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO taskyard.queue (name) VALUES (p_queue) ON CONFLICT (name) DO NOTHING;
    UPDATE taskyard.queue q SET ageing_us = p_every_us WHERE q.name = p_queue;
    PERFORM taskyard.queue_configure(p_queue, NULL, NULL, false);
END
$$;

-- Tells up to p_limit rows of a queue that ages, after the place (p_rank, p_order), when they age next: their time counts from
-- now, unless it is up sooner. p_lane: the runtime, and the group of kinds in the upper 32 bits. Answers how many it looked at, and where it stopped.
CREATE OR REPLACE FUNCTION taskyard.queue_stamp_lane(
    p_queue text, p_lane bigint, p_rank int, p_order bigint, p_limit int, OUT seen int, OUT rank int, OUT order_number bigint
) LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_queue taskyard.queue;
    v_now timestamptz := taskyard.now();
BEGIN
    SELECT q.* INTO v_queue FROM taskyard.queue q WHERE q.name = p_queue;
    seen := 0;
    IF v_queue.ageing_us IS NULL THEN
        RETURN;
    END IF;
    WITH c AS MATERIALIZED (
        SELECT r.turn, r.ctid AS place, r.rank, r.order_number FROM taskyard.ready r
        WHERE r.lane = v_queue.lane + p_lane AND (r.rank, r.order_number) > (p_rank, p_order)
        ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), u AS (
        UPDATE taskyard.ready r
        SET ages_at = least(r.ages_at, v_now + v_queue.ageing_us * interval '1 microsecond')
        FROM c WHERE r.turn = c.turn AND r.ctid = c.place
            AND (r.ages_at IS NULL OR r.ages_at > v_now + v_queue.ageing_us * interval '1 microsecond')
    ), l AS (
        SELECT c.rank, c.order_number FROM c ORDER BY c.rank DESC, c.order_number DESC LIMIT 1
    )
    SELECT (SELECT count(*) FROM c), (SELECT l.rank FROM l), (SELECT l.order_number FROM l) INTO seen, rank, order_number;
END
$$;

-- The same for programs that know no groups of kinds.
CREATE OR REPLACE FUNCTION taskyard.queue_stamp(
    p_queue text, p_lane int, p_rank int, p_order bigint, p_limit int, OUT seen int, OUT rank int, OUT order_number bigint
) LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.seen, s.rank, s.order_number FROM taskyard.queue_stamp_lane(p_queue, p_lane::bigint, p_rank, p_order, p_limit) s
$$;

-- Lets up to p_limit rows of a queue that ages no more come to the next step of queue_age, which puts them back. Answers how
-- many.
CREATE OR REPLACE FUNCTION taskyard.queue_unstamp(p_queue text, p_limit int) RETURNS int LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_count int;
BEGIN
    WITH c AS MATERIALIZED (
        SELECT r.turn, r.ctid AS place FROM taskyard.ready r WHERE r.ages_at > v_now AND r.queue = p_queue
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    )
    UPDATE taskyard.ready r SET ages_at = v_now FROM c WHERE r.turn = c.turn AND r.ctid = c.place;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
