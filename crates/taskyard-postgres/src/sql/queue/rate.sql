-- How many tasks of a queue start in some time (taskyard_core::rate says how it is counted).

-- How much of the bucket is missing, in microseconds; of a clock that went back, or of another rate, no more than all.
CREATE OR REPLACE FUNCTION taskyard.rate_missing(p_us bigint, p_full_at timestamptz, p_now timestamptz) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$
    SELECT least(coalesce(taskyard.micros_until(p_full_at, p_now), CASE WHEN p_full_at IS NULL THEN 0 ELSE p_us END), p_us)::numeric
$$;

-- How many may start now; null without a rate.
CREATE OR REPLACE FUNCTION taskyard.rate_free(p_count int, p_us bigint, p_full_at timestamptz, p_now timestamptz) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_count IS NOT NULL
        THEN greatest(p_count - ceil(taskyard.rate_missing(p_us, p_full_at, p_now) * p_count / p_us), 0)::int END
$$;

-- Notes what a claim has started, in the buckets of its queues. A claim that saw a queue's rate has locked its row; one that
-- had taken before there was a rate pays a full bucket at most.
CREATE OR REPLACE FUNCTION taskyard.rate_spend(p_claim uuid, p_now timestamptz) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
    UPDATE taskyard.queue q SET rate_full_at = p_now + least(taskyard.rate_missing(q.rate_us, q.rate_full_at, p_now)
        + ceil(k.size::numeric * q.rate_us / q.rate_count), q.rate_us)::bigint * interval '1 microsecond'
    FROM taskyard.claim k WHERE k.id = p_claim AND k.queue = q.name AND k.size > 0 AND q.rate_count IS NOT NULL
$$;

-- What waits for the rate of its queue, those that must run alone included: whether some of it may start now, and in how many
-- microseconds more may.
CREATE OR REPLACE FUNCTION taskyard.rate_due(OUT freed boolean, OUT due_us bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_queue taskyard.queue;
    v_missing numeric;
    v_starts numeric;
BEGIN
    freed := false;
    FOR v_queue IN SELECT q.* FROM taskyard.queue q WHERE q.rate_count IS NOT NULL AND NOT q.paused LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM taskyard.ready r
                WHERE r.lane = ANY(taskyard.ready_lanes(ARRAY[v_queue.lane, v_queue.lane + 1])))
            AND NOT EXISTS (SELECT FROM taskyard.ready r
                WHERE r.lane = ANY(taskyard.ready_lanes(ARRAY[-1, -2])) AND r.queue = v_queue.name);
        -- A bucket whose time lies further ahead than filling it takes met a clock that was ahead, or a longer period: it is empty
        -- now, and fills. (A second more may be a transaction that began earlier.)
        IF v_queue.rate_full_at > v_now + (v_queue.rate_us + 1000000) * interval '1 microsecond' THEN
            UPDATE taskyard.queue q SET rate_full_at = v_now + q.rate_us * interval '1 microsecond'
            WHERE q.rate_full_at > v_now + (q.rate_us + 1000000) * interval '1 microsecond'
                AND q.id = (SELECT f.id FROM taskyard.queue f WHERE f.id = v_queue.id FOR NO KEY UPDATE SKIP LOCKED);
        END IF;
        v_missing := taskyard.rate_missing(v_queue.rate_us, v_queue.rate_full_at, v_now);
        v_starts := ceil(v_missing * v_queue.rate_count / v_queue.rate_us);
        freed := freed OR v_starts < v_queue.rate_count;
        due_us := least(due_us, greatest(CASE WHEN v_starts = 0 THEN ceil(v_queue.rate_us::numeric / v_queue.rate_count)
            ELSE v_missing - floor((v_starts - 1) * v_queue.rate_us / v_queue.rate_count) END, 50000)::bigint);
    END LOOP;
END
$$;

-- Lets so many tasks of a queue start in so many microseconds (null: any number), making its row if it is new. What has been
-- started under another rate counts, as far as this one asks. It gets a lane of its own; the rows that lie elsewhere are moved
-- by queue_settle.
CREATE OR REPLACE FUNCTION taskyard.queue_set_rate(p_queue text, p_count int, p_us bigint) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO taskyard.queue (name) VALUES (p_queue) ON CONFLICT (name) DO NOTHING;
    UPDATE taskyard.queue q SET rate_count = p_count, rate_us = p_us,
        rate_full_at = CASE WHEN p_count IS NOT NULL THEN q.rate_full_at END
    WHERE q.name = p_queue;
    PERFORM taskyard.queue_configure(p_queue, NULL, NULL, false);
END
$$;
