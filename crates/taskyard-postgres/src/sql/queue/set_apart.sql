-- One step of setting queues apart, for a server that serves only these: 0 a queue shares the common lane, 1 what is added
-- goes to a lane of its own and up to p_limit rows are moved there, 2 all were. Even then an addition that was under way
-- may come to the common lane; the next call moves it. Answers how many were moved, and whether more may be left.
CREATE OR REPLACE FUNCTION taskyard.queue_set_apart(p_queues text[], p_limit int) RETURNS TABLE (moved int, more boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_name text;
    v_moved int;
BEGIN
    FOR v_name IN
        SELECT n.name FROM unnest(p_queues) AS n(name)
        WHERE NOT EXISTS (SELECT FROM taskyard.queue q WHERE q.name = n.name AND q.apart > 0) ORDER BY n.name
    LOOP
        PERFORM taskyard.queue_configure(v_name, NULL, NULL, true);
        more := true;
    END LOOP;
    moved := 0;
    IF more THEN
        -- Moved after the commit: only then does nobody new come to the common lane.
        RETURN NEXT;
        RETURN;
    END IF;
    more := false;
    FOREACH v_name IN ARRAY p_queues LOOP
        v_moved := taskyard.queue_settle(v_name, p_limit);
        moved := moved + v_moved;
        -- What a claim looks at just now was passed by.
        IF v_moved >= p_limit OR EXISTS (SELECT FROM taskyard.ready r WHERE r.lane IN (0, 1) AND r.queue = v_name) THEN
            more := true;
        ELSE
            UPDATE taskyard.queue q SET apart = 2 WHERE q.name = v_name AND q.apart = 1;
        END IF;
    END LOOP;
    RETURN NEXT;
END
$$;
