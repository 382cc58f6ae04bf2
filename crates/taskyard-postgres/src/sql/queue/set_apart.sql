-- One step of setting queues apart, for a server that serves only these: 0 a queue shares the common lane, 1 what is added
-- goes to a lane of its own and up to p_limit rows are moved there, 2 all were. Even then an addition that was under way
-- may come to the common lane; the next call moves it. Answers how many were moved, and whether more may be left.
--
-- No queue's row needs to be locked: one that is apart keeps its lane for good.
CREATE OR REPLACE FUNCTION taskyard.queue_set_apart(p_queues text[], p_limit int)
RETURNS TABLE (moved int, more boolean) LANGUAGE plpgsql SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_name text;
BEGIN
    moved := 0;
    more := false;
    FOR v_name IN
        SELECT n.name FROM unnest(p_queues) AS n(name)
        WHERE NOT EXISTS (SELECT FROM taskyard.queue q WHERE q.name = n.name AND q.apart > 0) ORDER BY n.name
    LOOP
        PERFORM taskyard.queue_configure(v_name, NULL, NULL, true);
        more := true;
    END LOOP;
    IF more THEN
        -- Moved after the commit: only then does nobody new come to the common lane.
        RETURN NEXT;
        RETURN;
    END IF;
    -- One walk for all of them, for that needs no index.
    WITH c AS MATERIALIZED (
        SELECT r.turn, r.ctid AS place, q.lane AS own FROM taskyard.ready r JOIN taskyard.queue q ON q.name = r.queue
        WHERE r.lane = ANY(taskyard.ready_lanes('{0, 1}')) AND r.queue = ANY(p_queues) LIMIT p_limit FOR UPDATE OF r SKIP LOCKED
    )
    UPDATE taskyard.ready r SET lane = c.own + r.lane FROM c WHERE r.turn = c.turn AND r.ctid = c.place;
    GET DIAGNOSTICS moved = ROW_COUNT;
    more := moved >= p_limit;
    IF NOT more AND EXISTS (SELECT FROM taskyard.queue q WHERE q.name = ANY(p_queues) AND q.apart = 1) THEN
        -- What a claim looks at just now was passed by.
        more := EXISTS (SELECT FROM taskyard.ready r
            WHERE r.lane = ANY(taskyard.ready_lanes('{0, 1}')) AND r.queue = ANY(p_queues));
        IF NOT more THEN
            UPDATE taskyard.queue q SET apart = 2 FROM (
                SELECT o.id FROM taskyard.queue o WHERE o.name = ANY(p_queues) AND o.apart = 1
                ORDER BY o.id FOR NO KEY UPDATE SKIP LOCKED) o
            WHERE q.id = o.id;
        END IF;
    END IF;
    RETURN NEXT;
END
$$;
