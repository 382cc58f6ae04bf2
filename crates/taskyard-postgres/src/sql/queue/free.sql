-- How many more tasks of a queue may start now: null = any number, 0 while it is paused. It may be fewer at once: see queue_free.
CREATE OR REPLACE FUNCTION taskyard.queue_room(p_queue text) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_queue taskyard.queue;
    v_doing bigint;
    v_free bigint;
BEGIN
    SELECT q.* INTO v_queue FROM taskyard.queue q WHERE q.name = p_queue;
    IF NOT FOUND OR (v_queue.running_max IS NULL AND v_queue.rate_count IS NULL AND NOT v_queue.paused) THEN
        RETURN NULL;
    ELSIF v_queue.paused THEN
        RETURN 0;
    END IF;
    v_free := taskyard.rate_free(v_queue.rate_count, v_queue.rate_us, v_queue.rate_full_at, taskyard.now());
    IF v_queue.running_max IS NOT NULL THEN
        SELECT count(DISTINCT t.id) INTO v_doing
        FROM taskyard.claim k CROSS JOIN unnest(k.task_ids) AS i(id) JOIN taskyard.task t ON t.id = i.id
        WHERE k.queue = p_queue AND t.state = 2
            AND NOT EXISTS (SELECT FROM taskyard.end_aside a WHERE a.task_id = t.id AND a.token = t.token);
        v_free := least(v_free, greatest(v_queue.running_max - v_doing, 0));
    END IF;
    RETURN least(v_free, 2000000000);
END
$$;

-- The same for a claim that takes some, 0 also while another claim is counting. A limited queue's row stays locked until the claim
-- that counted has committed.
CREATE OR REPLACE FUNCTION taskyard.queue_free(p_queue text) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_queue taskyard.queue;
BEGIN
    SELECT q.* INTO v_queue FROM taskyard.queue q WHERE q.name = p_queue;
    IF NOT FOUND OR (v_queue.running_max IS NULL AND v_queue.rate_count IS NULL AND NOT v_queue.paused) THEN
        RETURN NULL;
    ELSIF taskyard.rate_free(v_queue.rate_count, v_queue.rate_us, v_queue.rate_full_at, taskyard.now()) = 0 THEN
        -- Nobody else's claim can make it more: no lock is needed to know that.
        RETURN 0;
    END IF;
    PERFORM FROM taskyard.queue q WHERE q.name = p_queue FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    -- Another statement: it sees what the claim before has counted.
    RETURN taskyard.queue_room(p_queue);
END
$$;
