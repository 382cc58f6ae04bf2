-- Puts tasks that have just become enqueued into the lane that their queue, their alone flag and the group of their kind say now.
--
-- The row of a queue with a lane of its own is locked with KEY SHARE until the end of the transaction: only when nobody
-- holds it may the queue stop reading that lane, so no row is ever left in a lane that nobody reads.
CREATE OR REPLACE FUNCTION taskyard.ready_insert(p_ids uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_names text[];
    v_lanes int[];
    v_ages bigint[];
    v_now timestamptz;
    v_groups int[];
BEGIN
    IF EXISTS (SELECT FROM taskyard.queue q WHERE q.lane <> 0 OR q.draining) THEN
        v_now := taskyard.now();
        SELECT array_agg(l.name), array_agg(l.lane), array_agg(l.ageing_us) INTO v_names, v_lanes, v_ages FROM (
            SELECT q.name, q.lane, q.ageing_us FROM taskyard.queue q
            WHERE q.lane <> 0 AND q.name IN (SELECT t.queue FROM taskyard.task t WHERE t.id = ANY(p_ids))
            FOR KEY SHARE OF q) l;
    END IF;
    IF EXISTS (SELECT FROM taskyard.kind) THEN
        v_groups := taskyard.kind_groups_of(p_ids);
    END IF;
    INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn, ages_at)
    SELECT t.order_number, t.id,
        (coalesce(g.group_id, 0)::bigint << 32) + CASE WHEN t.alone THEN -1 - t.runtime ELSE coalesce(l.lane, 0) + t.runtime END, ~t.priority, t.queue,
        (SELECT o.turn FROM taskyard.ready_turn o),
        CASE WHEN NOT t.alone THEN v_now + l.ageing * interval '1 microsecond' END
    FROM (SELECT DISTINCT u.id, u.group_id FROM unnest(p_ids, v_groups) AS u(id, group_id)) g
        JOIN taskyard.task t ON t.id = g.id
        LEFT JOIN unnest(v_names, v_lanes, v_ages) AS l(name, lane, ageing) ON l.name = t.queue;
END
$$;
