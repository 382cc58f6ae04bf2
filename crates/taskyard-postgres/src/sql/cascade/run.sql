-- Tells the children of tasks that ended (or were revived), theirs in turn, and so on, breadth first, until p_budget
-- edges are used up; what is left is written to `cascade` for any server to carry on. kinds: 0 done, 1 failed,
-- 2 cancelled, 3 revived. p_roots: the first ancestor, null = what the task itself says; p_positions: the last child told.
-- With the setting `taskyard.around_locks` it passes over children that are locked, and leaves their parents to a later step.
CREATE OR REPLACE FUNCTION taskyard.cascade_run(
    p_tasks uuid[], p_kinds smallint[], p_roots uuid[], p_positions uuid[], p_budget int, p_now timestamptz,
    OUT edges int, OUT woken int, OUT ended int, OUT more boolean
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tasks uuid[] := p_tasks;
    v_kinds smallint[] := p_kinds;
    v_roots uuid[] := coalesce(p_roots, array_fill(NULL::uuid, ARRAY[cardinality(p_tasks)]));
    v_at int := 1;
    v_task uuid;
    v_kind smallint;
    v_root uuid;
    v_position uuid;
    v_limit int;
    v_children uuid[];
    v_run uuid[];
    v_fail uuid[];
    v_count int;
    v_next uuid[];
    v_state record;
    v_around boolean := coalesce(current_setting('taskyard.around_locks', true), '') IN ('on', 'met');
    v_free uuid[];
    v_left uuid[] := '{}';
    v_left_kinds smallint[] := '{}';
    v_left_roots uuid[] := '{}';
BEGIN
    edges := 0;
    woken := 0;
    ended := 0;
    more := false;
    -- The common case in one go: all are done, and all their children fit.
    IF p_positions IS NULL AND NOT v_around AND 0 = ALL(p_kinds) THEN
        SELECT count(*) INTO v_count FROM (
            SELECT FROM taskyard.edge e WHERE e.parent_id = ANY(p_tasks) AND e.open LIMIT p_budget + 1) e;
        IF v_count <= p_budget THEN
            WITH u AS (
                UPDATE taskyard.edge e SET open = false WHERE e.parent_id = ANY(p_tasks) AND e.open RETURNING e.child_id
            )
            SELECT array_agg(u.child_id) INTO v_children FROM u;
            IF v_children IS NOT NULL THEN
                edges := cardinality(v_children);
                woken := taskyard.cascade_close(v_children, p_now);
            END IF;
            RETURN;
        END IF;
    END IF;
    WHILE v_at <= cardinality(v_tasks) LOOP
        v_task := v_tasks[v_at];
        v_kind := v_kinds[v_at];
        v_position := p_positions[v_at];
        v_limit := p_budget - edges;
        EXIT WHEN v_limit <= 0;
        -- What was to be told may be true no longer; then something else tells it.
        SELECT t.state, coalesce(v_roots[v_at], t.fallen_from, t.id) AS root INTO v_state
        FROM taskyard.task t WHERE t.id = v_task;
        v_root := v_state.root;
        IF v_state.root IS NULL OR (v_kind < 3 AND v_state.state <> v_kind + 4) THEN
            v_at := v_at + 1;
            CONTINUE;
        END IF;
        IF v_around THEN
            -- Those that were told are passed over: what is left is looked at from the beginning again.
            SELECT array_agg(l.child_id), count(*) INTO v_children, v_count FROM (
                SELECT e.child_id FROM taskyard.edge e JOIN taskyard.task t ON t.id = e.child_id
                WHERE e.parent_id = v_task AND e.open AND CASE v_kind WHEN 0 THEN true WHEN 3 THEN t.fallen_from IS NOT NULL
                        ELSE t.state = 0 END
                    AND e.child_id > coalesce(v_position, '00000000-0000-0000-0000-000000000000')
                ORDER BY e.child_id LIMIT v_limit) l;
            v_free := ARRAY(SELECT l.child_id FROM (
                SELECT e.child_id FROM taskyard.edge e
                WHERE e.parent_id = v_task AND e.open AND e.child_id = ANY(taskyard.task_free(v_children))
                ORDER BY e.child_id FOR NO KEY UPDATE SKIP LOCKED) l);
        ELSE
            SELECT array_agg(l.child_id), count(*) INTO v_children, v_count FROM (
                SELECT e.child_id FROM taskyard.edge e
                WHERE e.parent_id = v_task AND e.open
                    AND e.child_id > coalesce(v_position, '00000000-0000-0000-0000-000000000000')
                ORDER BY e.child_id LIMIT v_limit FOR NO KEY UPDATE) l;
        END IF;
        edges := edges + CASE WHEN v_around THEN cardinality(v_free) ELSE v_count END;
        v_position := coalesce(v_children[v_count], v_position);
        IF v_children IS NULL THEN
            v_at := v_at + 1;
            CONTINUE;
        END IF;
        IF v_around AND cardinality(v_free) < v_count THEN
            v_children := v_free;
            IF v_task <> ALL(v_left) THEN
                v_left := v_left || v_task;
                v_left_kinds := v_left_kinds || v_kind;
                v_left_roots := v_left_roots || v_root;
            END IF;
        END IF;
        IF v_kind = 3 THEN
            -- Those that have fallen and that no open parent holds down any more: none that is down with, or is, the
            -- ancestor they name. Whenever a task stands up or falls with another ancestor, its children are looked at
            -- again, so nobody has to remember whose retry it was.
            SELECT array_agg(l.id) INTO v_next FROM (
                SELECT t.id FROM taskyard.task t
                WHERE t.id = ANY(v_children) AND t.fallen_from IS NOT NULL AND t.state IN (5, 6) AND NOT EXISTS (
                    SELECT FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id
                    WHERE e.child_id = t.id AND e.open AND p.state IN (5, 6)
                        AND coalesce(p.fallen_from, p.id) = t.fallen_from)
                ORDER BY t.id FOR NO KEY UPDATE OF t) l;
            IF v_next IS NOT NULL THEN
                SELECT woken + count(*) INTO woken
                FROM unnest(taskyard.cascade_revive(v_next, p_now)) AS s(state) WHERE s.state = 1;
            END IF;
        ELSE
            v_run := v_children;
            v_next := NULL;
            IF v_kind <> 0 THEN
                SELECT array_agg(t.id) FILTER (WHERE t.on_parent_failure = 1),
                    array_agg(t.id) FILTER (WHERE t.on_parent_failure = 0)
                INTO v_run, v_fail FROM taskyard.task t WHERE t.id = ANY(v_children);
                IF v_fail IS NOT NULL THEN
                    v_next := taskyard.cascade_fall(v_fail, (4 + v_kind)::smallint, v_root, p_now);
                    ended := ended + cardinality(v_next);
                END IF;
            END IF;
            IF v_run IS NOT NULL THEN
                UPDATE taskyard.edge e SET open = false WHERE e.parent_id = v_task AND e.child_id = ANY(v_run) AND e.open;
                woken := woken + taskyard.cascade_close(v_run, p_now);
            END IF;
        END IF;
        IF cardinality(v_next) > 0 THEN
            SELECT array_agg(t.id ORDER BY t.id) INTO v_next FROM taskyard.task t WHERE t.id = ANY(v_next) AND t.has_children;
            IF v_next IS NOT NULL THEN
                v_tasks := v_tasks || v_next;
                v_kinds := v_kinds || array_fill(v_kind, ARRAY[cardinality(v_next)]);
                v_roots := v_roots || array_fill(v_root, ARRAY[cardinality(v_next)]);
            END IF;
        END IF;
        IF v_count < v_limit THEN
            v_at := v_at + 1;
        ELSE
            EXIT;
        END IF;
    END LOOP;
    IF v_at <= cardinality(v_tasks) THEN
        more := true;
        INSERT INTO taskyard.cascade AS k (task_id, kind, root, position)
        SELECT u.task_id, u.kind, u.root, CASE WHEN u.place = v_at THEN v_position ELSE p_positions[u.place] END
        FROM unnest(v_tasks, v_kinds, v_roots) WITH ORDINALITY AS u(task_id, kind, root, place)
        WHERE u.place >= v_at ORDER BY u.place
        ON CONFLICT (task_id, kind) DO UPDATE SET root = excluded.root, position = NULL;
    END IF;
    -- From the beginning: children that were told are passed over then.
    INSERT INTO taskyard.cascade AS k (task_id, kind, root)
    SELECT u.task_id, u.kind, u.root FROM unnest(v_left, v_left_kinds, v_left_roots) AS u(task_id, kind, root)
    ON CONFLICT (task_id, kind) DO UPDATE SET root = excluded.root, position = NULL;
END
$$;
