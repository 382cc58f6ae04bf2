-- Tells these children of one task what has become of it (see cascade/run.sql). next: those that fell or were revived, whose
-- children are to be told in turn.
CREATE OR REPLACE FUNCTION taskyard.cascade_tell(p_task uuid, p_kind smallint, p_root uuid, p_children uuid[], p_now timestamptz,
    OUT next uuid[], OUT woken int, OUT ended int) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_run uuid[];
    v_fail uuid[];
BEGIN
    woken := 0;
    ended := 0;
    IF p_kind = 3 THEN
        -- Those that have fallen and that no open parent holds down any more: none that is down with, or is, the
        -- ancestor they name. Whenever a task stands up or falls with another ancestor, its children are looked at
        -- again, so nobody has to remember whose retry it was.
        SELECT array_agg(l.id) INTO next FROM (
            SELECT t.id FROM taskyard.task t
            WHERE t.id = ANY(p_children) AND t.fallen_from IS NOT NULL AND t.state IN (5, 6) AND NOT EXISTS (
                SELECT FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id
                WHERE e.child_id = t.id AND e.open AND p.state IN (5, 6)
                    AND coalesce(p.fallen_from, p.id) = t.fallen_from)
            ORDER BY t.id FOR NO KEY UPDATE OF t) l;
        IF next IS NOT NULL THEN
            SELECT woken + count(*) INTO woken
            FROM unnest(taskyard.cascade_revive(next, p_now)) AS s(state) WHERE s.state = 1;
        END IF;
    ELSE
        v_run := p_children;
        IF p_kind <> 0 THEN
            SELECT array_agg(t.id) FILTER (WHERE t.on_parent_failure = 1),
                array_agg(t.id) FILTER (WHERE t.on_parent_failure = 0)
            INTO v_run, v_fail FROM taskyard.task t WHERE t.id = ANY(p_children);
            IF v_fail IS NOT NULL THEN
                next := taskyard.cascade_fall(v_fail, (4 + p_kind)::smallint, p_root, p_now);
                ended := ended + cardinality(next);
            END IF;
        END IF;
        IF v_run IS NOT NULL THEN
            UPDATE taskyard.edge e SET open = false WHERE e.parent_id = p_task AND e.child_id = ANY(v_run) AND e.open;
            woken := woken + taskyard.cascade_close(v_run, p_now);
        END IF;
    END IF;
END
$$;

-- Tells these children all at once, or, where the database refuses that or a lock is met, each alone, until p_until. told: how many.
-- last: the last one that was tried, if the time did not suffice for all; refused: whether what is left was refused, and met no lock.
CREATE OR REPLACE FUNCTION taskyard.cascade_each(p_task uuid, p_kind smallint, p_root uuid, p_children uuid[], p_now timestamptz,
    p_until timestamptz, OUT next uuid[], OUT woken int, OUT ended int, OUT told int, OUT refused boolean, OUT last uuid)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_child uuid;
    v_tried uuid;
    v_until timestamptz;
    v_told record;
    v_reason text;
BEGIN
    refused := false;
    BEGIN
        SELECT c.next, c.woken, c.ended INTO next, woken, ended
        FROM taskyard.cascade_tell(p_task, p_kind, p_root, p_children, p_now) c;
        told := cardinality(p_children);
        RETURN;
    EXCEPTION
        -- A serialization failure or a deadlock ends the transaction.
        WHEN transaction_rollback THEN
            RAISE;
        WHEN OTHERS THEN
            NULL;
    END;
    next := '{}';
    woken := 0;
    ended := 0;
    told := 0;
    refused := true;
    v_until := greatest(p_until, clock_timestamp() + interval '100 ms');
    FOREACH v_child IN ARRAY p_children LOOP
        IF v_tried IS NOT NULL AND clock_timestamp() > v_until THEN
            last := v_tried;
            EXIT;
        END IF;
        v_tried := v_child;
        BEGIN
            SELECT c.* INTO v_told FROM taskyard.cascade_tell(p_task, p_kind, p_root, ARRAY[v_child], p_now) c;
            next := next || v_told.next;
            woken := woken + v_told.woken;
            ended := ended + v_told.ended;
            told := told + 1;
        EXCEPTION
            WHEN lock_not_available THEN
                refused := false;
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                v_reason := 'tell task ' || v_child || ' of its parent ' || p_task || ': ' || SQLERRM;
        END;
    END LOOP;
    PERFORM taskyard.upkeep_refused(v_reason);
END
$$;
