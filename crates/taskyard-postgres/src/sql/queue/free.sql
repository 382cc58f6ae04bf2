-- How many more tasks of a queue may start now: null = any number, 0 while it is paused or another claim is counting.
-- A limited queue's row stays locked until the claim that counted has committed.
CREATE OR REPLACE FUNCTION taskyard.queue_free(p_queue text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_queue taskyard.queue;
    v_doing bigint;
BEGIN
    SELECT q.* INTO v_queue FROM taskyard.queue q WHERE q.name = p_queue;
    IF NOT FOUND OR (v_queue.running_max IS NULL AND NOT v_queue.paused) THEN
        RETURN NULL;
    END IF;
    SELECT q.* INTO v_queue FROM taskyard.queue q WHERE q.name = p_queue FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND OR v_queue.paused THEN
        RETURN 0;
    ELSIF v_queue.running_max IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT count(DISTINCT t.id) INTO v_doing
    FROM taskyard.claim k CROSS JOIN unnest(k.task_ids) AS i(id) JOIN taskyard.task t ON t.id = i.id
    WHERE k.queue = p_queue AND t.state = 2;
    RETURN least(greatest(v_queue.running_max - v_doing, 0), 2000000000);
END
$$;
