-- Chooses and locks what a claim takes while some queue is paused, limited or still draining, or one task for the alone
-- lane. A row of such a queue that lies in the shared lane (added while the queue was being changed) is moved to the
-- queue's own lane here: that the change moves them is a matter of speed, not of correctness.
CREATE OR REPLACE FUNCTION taskyard.ready_choose(
    p_runtime smallint, p_queues text[], p_limit int, p_alone boolean, p_rank int, p_order bigint
) RETURNS taskyard.ready[] LANGUAGE plpgsql AS $$
DECLARE
    v_rows taskyard.ready[];
    v_more taskyard.ready[];
    v_stray taskyard.ready[];
    v_all taskyard.ready[] := '{}';
    v_row taskyard.ready;
    v_queue record;
    v_free int;
BEGIN
    IF p_alone THEN
        FOR v_row IN
            SELECT r.* FROM taskyard.ready r
            WHERE r.lane = -1 - p_runtime AND (p_queues IS NULL OR r.queue = ANY(p_queues))
            ORDER BY r.lane, r.rank, r.order_number LIMIT 1000 FOR UPDATE SKIP LOCKED
        LOOP
            v_free := taskyard.queue_free(v_row.queue);
            IF v_free IS NULL OR v_free > 0 THEN
                RETURN ARRAY[v_row];
            END IF;
        END LOOP;
        RETURN NULL;
    END IF;
    FOR i IN 1..100 LOOP
        SELECT array_agg(l.r) INTO v_rows FROM (
            SELECT r FROM taskyard.ready r
            WHERE r.lane = p_runtime AND (r.rank, r.order_number) > (p_rank, p_order)
                AND (p_queues IS NULL OR r.queue = ANY(p_queues))
            ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit FOR UPDATE SKIP LOCKED) l;
        SELECT array_agg(l) INTO v_stray FROM unnest(v_rows) l
        WHERE l.queue IN (SELECT q.name FROM taskyard.queue q WHERE q.lane <> 0);
        EXIT WHEN v_stray IS NULL;
        UPDATE taskyard.ready r SET lane = q.lane + p_runtime
        FROM unnest(v_stray) s JOIN taskyard.queue q ON q.name = s.queue
        WHERE q.lane <> 0 AND r.turn = s.turn AND r.lane = s.lane AND r.rank = s.rank AND r.order_number = s.order_number
            AND r.task_id = s.task_id;
    END LOOP;
    IF v_stray IS NULL THEN
        v_all := coalesce(v_rows, '{}');
    END IF;
    FOR v_queue IN
        SELECT q.id, q.name, q.running_max FROM taskyard.queue q
        WHERE (q.lane <> 0 OR q.draining) AND NOT q.paused AND (p_queues IS NULL OR q.name = ANY(p_queues))
            AND EXISTS (SELECT FROM taskyard.ready r WHERE r.lane = 2 * q.id + 2 + p_runtime)
        ORDER BY q.id
    LOOP
        v_free := coalesce(taskyard.queue_free(v_queue.name), p_limit);
        CONTINUE WHEN v_free <= 0;
        SELECT array_agg(l.r) INTO v_more FROM (
            SELECT r FROM taskyard.ready r WHERE r.lane = 2 * v_queue.id + 2 + p_runtime
            ORDER BY r.lane, r.rank, r.order_number LIMIT least(p_limit, v_free) FOR UPDATE SKIP LOCKED) l;
        v_all := v_all || coalesce(v_more, '{}');
    END LOOP;
    SELECT array_agg(l.a) INTO v_rows FROM (
        SELECT a FROM unnest(v_all) a ORDER BY a.rank, a.order_number LIMIT p_limit) l;
    RETURN v_rows;
END
$$;
