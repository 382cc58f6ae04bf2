-- Pauses or resumes a queue (p_paused not null), sets its limit (p_limit: -1 lifts it) or sets it apart (p_apart), making
-- its row if it is new.
-- In force for every claim after the commit; the rows that lie in the wrong lane are moved by queue_settle later.
CREATE OR REPLACE FUNCTION taskyard.queue_configure(p_queue text, p_paused boolean, p_limit bigint, p_apart boolean) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_queue taskyard.queue;
    v_paused boolean;
    v_max bigint;
    v_own boolean;
BEGIN
    INSERT INTO taskyard.queue (name) VALUES (p_queue) ON CONFLICT (name) DO NOTHING;
    SELECT q.* INTO v_queue FROM taskyard.queue q WHERE q.name = p_queue FOR NO KEY UPDATE;
    v_paused := coalesce(p_paused, v_queue.paused);
    v_max := CASE WHEN p_limit IS NULL THEN v_queue.running_max WHEN p_limit >= 0 THEN p_limit END;
    v_own := v_paused OR v_max IS NOT NULL OR v_queue.rate_count IS NOT NULL OR v_queue.apart > 0 OR p_apart OR v_queue.ageing_us IS NOT NULL;
    UPDATE taskyard.queue q SET paused = v_paused, running_max = v_max, apart = greatest(q.apart, p_apart::int),
        lane = CASE WHEN v_own THEN 2 * q.id + 2 ELSE 0 END,
        draining = NOT v_own AND (q.lane <> 0 OR q.draining)
    WHERE q.id = v_queue.id;
    IF v_max IS NOT NULL AND v_queue.running_max IS NULL THEN
        -- What was claimed before there was a limit counts as well.
        INSERT INTO taskyard.claim (id, server_id, queue, size, task_ids)
        SELECT k.id, k.server_id, p_queue, 0, array_agg(t.id)
        FROM taskyard.claim k CROSS JOIN unnest(k.task_ids) AS i(id)
            JOIN taskyard.task t ON t.id = i.id AND t.state = 2 AND t.queue = p_queue
        WHERE k.queue = '' GROUP BY k.id, k.server_id
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;
