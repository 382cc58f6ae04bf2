-- The next children of a task that have not been told yet what has become of it (see cascade/run.sql), in id order; null if there
-- are none. Those that are not settled yet hear of it when they are.
CREATE OR REPLACE FUNCTION taskyard.cascade_untold(p_task uuid, p_kind smallint, p_after uuid, p_limit int) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_after uuid := coalesce(p_after, '00000000-0000-0000-0000-000000000000');
BEGIN
    IF p_kind = 0 THEN
        RETURN (SELECT array_agg(l.child_id) FROM (
            SELECT e.child_id FROM taskyard.edge e JOIN taskyard.task t ON t.id = e.child_id
            WHERE e.parent_id = p_task AND e.open AND e.child_id > v_after
            ORDER BY e.child_id LIMIT p_limit) l);
    ELSIF p_kind = 3 THEN
        RETURN (SELECT array_agg(l.child_id) FROM (
            SELECT e.child_id FROM taskyard.edge e JOIN taskyard.task t ON t.id = e.child_id
            WHERE e.parent_id = p_task AND e.open AND e.child_id > v_after
                AND t.fallen_from IS NOT NULL AND t.state IN (5, 6) AND NOT EXISTS (
                    SELECT FROM taskyard.edge o JOIN taskyard.task p ON p.id = o.parent_id
                    WHERE o.child_id = t.id AND o.open AND p.state IN (5, 6)
                        AND coalesce(p.fallen_from, p.id) = t.fallen_from)
            ORDER BY e.child_id LIMIT p_limit) l);
    END IF;
    RETURN (SELECT array_agg(l.child_id) FROM (
        SELECT e.child_id FROM taskyard.edge e JOIN taskyard.task t ON t.id = e.child_id
            LEFT JOIN taskyard.waiting w ON w.task_id = e.child_id
        WHERE e.parent_id = p_task AND e.open AND e.child_id > v_after
            -- One that runs without its parents and has ended: a retry must not wait for this one.
            AND (w.reason = 0 OR (w.task_id IS NULL AND t.on_parent_failure = 1))
        ORDER BY e.child_id LIMIT p_limit) l);
END
$$;
