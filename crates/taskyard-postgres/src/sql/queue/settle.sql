-- Moves up to p_limit rows to the lane that the queue says now; once nothing is left in its own lane, and nobody who read
-- that lane is still writing (they hold KEY SHARE), claims stop looking there. Answers how many were moved: p_limit if more
-- may be left.
CREATE OR REPLACE FUNCTION taskyard.queue_settle(p_queue text, p_limit int) RETURNS int LANGUAGE plpgsql SET lock_timeout = '1s'
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_queue taskyard.queue;
    v_moved int;
BEGIN
    SELECT q.* INTO v_queue FROM taskyard.queue q WHERE q.name = p_queue FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF v_queue.lane <> 0 THEN
        -- Claims move what they meet; this only spares them. A scan of the shared lanes, for that needs no index.
        WITH c AS MATERIALIZED (
            SELECT r.turn, r.ctid AS place FROM taskyard.ready r
            WHERE r.lane = ANY(taskyard.ready_lanes('{0, 1}')) AND r.queue = p_queue LIMIT p_limit FOR UPDATE SKIP LOCKED
        )
        UPDATE taskyard.ready r SET lane = v_queue.lane + r.lane FROM c WHERE r.turn = c.turn AND r.ctid = c.place;
        GET DIAGNOSTICS v_moved = ROW_COUNT;
        RETURN v_moved;
    END IF;
    WITH c AS MATERIALIZED (
        SELECT r.turn, r.ctid AS place FROM taskyard.ready r
        WHERE r.lane = ANY(taskyard.ready_lanes(ARRAY[2 * v_queue.id + 2, 2 * v_queue.id + 3])) LIMIT p_limit FOR UPDATE SKIP LOCKED
    )
    UPDATE taskyard.ready r SET lane = r.lane - (2 * v_queue.id + 2) FROM c WHERE r.turn = c.turn AND r.ctid = c.place;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    IF v_moved < p_limit THEN
        PERFORM FROM taskyard.queue q WHERE q.name = p_queue AND q.draining FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE taskyard.queue q SET draining = false
            WHERE q.name = p_queue AND q.lane = 0 AND NOT EXISTS (
                SELECT FROM taskyard.ready r
                WHERE r.lane = ANY(taskyard.ready_lanes(ARRAY[2 * q.id + 2, 2 * q.id + 3])));
        END IF;
    END IF;
    RETURN v_moved;
END
$$;
