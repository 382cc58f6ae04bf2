-- Tells the children of tasks that ended (or were revived), theirs in turn, and so on, breadth first, until p_budget
-- edges are used up; what is left is written to `cascade` for any server to carry on. kinds: 0 done, 1 failed,
-- 2 cancelled, 3 revived. p_roots: the first ancestor, null = what the task itself says; p_positions: the last child told.
-- With the setting `taskyard.around_locks` it passes over children that are locked, or whose change the database refuses, and leaves
-- their parents to a later step: what it writes has `not_before`, which says that a child before the position may be left.
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
    v_count int;
    v_next uuid[];
    v_state record;
    v_around boolean := coalesce(current_setting('taskyard.around_locks', true), '') IN ('on', 'met');
    v_free uuid[];
    v_left uuid[] := '{}';
    v_left_kinds smallint[] := '{}';
    v_left_roots uuid[] := '{}';
    v_left_refused boolean[] := '{}';
    v_told record;
    v_until timestamptz;
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
    IF v_around THEN
        v_until := clock_timestamp() + interval '300 ms';
    END IF;
    WHILE v_at <= cardinality(v_tasks) LOOP
        v_task := v_tasks[v_at];
        v_kind := v_kinds[v_at];
        v_position := p_positions[v_at];
        v_limit := p_budget - edges;
        EXIT WHEN v_limit <= 0 OR (v_around AND v_at > 1 AND clock_timestamp() > v_until);
        -- What was to be told may be true no longer; then something else tells it.
        SELECT t.state, coalesce(v_roots[v_at], t.fallen_from, t.id) AS root INTO v_state
        FROM taskyard.task t WHERE t.id = v_task;
        v_root := v_state.root;
        IF v_state.root IS NULL OR (v_kind < 3 AND v_state.state <> v_kind + 4) THEN
            v_at := v_at + 1;
            CONTINUE;
        END IF;
        IF v_around THEN
            v_children := taskyard.cascade_untold(v_task, v_kind, v_position, v_limit);
            v_count := coalesce(cardinality(v_children), 0);
            v_free := taskyard.task_free(v_children, false);
            v_free := ARRAY(SELECT l.child_id FROM (
                SELECT e.child_id FROM taskyard.edge e WHERE e.parent_id = v_task AND e.open AND e.child_id = ANY(v_free)
                ORDER BY e.child_id FOR NO KEY UPDATE SKIP LOCKED) l);
        ELSE
            SELECT array_agg(l.child_id), count(*) INTO v_children, v_count FROM (
                SELECT e.child_id FROM taskyard.edge e
                WHERE e.parent_id = v_task AND e.open
                    AND e.child_id > coalesce(v_position, '00000000-0000-0000-0000-000000000000')
                ORDER BY e.child_id LIMIT v_limit FOR NO KEY UPDATE) l;
        END IF;
        v_position := coalesce(v_children[v_count], v_position);
        IF v_children IS NULL AND NOT v_around THEN
            v_at := v_at + 1;
            CONTINUE;
        END IF;
        IF v_around THEN
            SELECT e.* INTO v_told FROM taskyard.cascade_each(v_task, v_kind, v_root, v_free, p_now, v_until) e;
            edges := edges + v_told.told;
            IF v_told.last IS NOT NULL THEN
                -- As if the page ended there.
                v_position := v_told.last;
                v_count := v_limit;
            -- At the end of its children: those that are left, here or by a step before, are looked at from the beginning again.
            ELSIF v_count < v_limit AND taskyard.cascade_untold(v_task, v_kind, NULL, 1) IS NOT NULL THEN
                v_left := v_left || v_task;
                v_left_kinds := v_left_kinds || v_kind;
                v_left_roots := v_left_roots || v_root;
                v_left_refused := v_left_refused || (v_count > 0 AND v_told.refused AND cardinality(v_free) = v_count);
            END IF;
        ELSE
            edges := edges + v_count;
            SELECT c.* INTO v_told FROM taskyard.cascade_tell(v_task, v_kind, v_root, v_children, p_now) c;
        END IF;
        woken := woken + v_told.woken;
        ended := ended + v_told.ended;
        v_next := v_told.next;
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
        INSERT INTO taskyard.cascade AS k (task_id, kind, root, position, not_before)
        SELECT u.task_id, u.kind, (array_agg(u.root ORDER BY u.place))[1],
            CASE WHEN count(*) > 1 THEN NULL WHEN min(u.place) = v_at THEN v_position ELSE p_positions[min(u.place)] END,
            CASE WHEN v_around THEN p_now END
        FROM unnest(v_tasks, v_kinds, v_roots) WITH ORDINALITY AS u(task_id, kind, root, place)
        WHERE u.place >= v_at GROUP BY u.task_id, u.kind ORDER BY min(u.place)
        ON CONFLICT (task_id, kind) DO UPDATE SET root = excluded.root, position = NULL, not_before = excluded.not_before;
    END IF;
    IF v_left <> '{}' THEN
        INSERT INTO taskyard.cascade AS k (task_id, kind, root, not_before)
        SELECT DISTINCT ON (u.task_id, u.kind) u.task_id, u.kind, u.root, p_now + taskyard.set_back(u.refused)
        FROM unnest(v_left, v_left_kinds, v_left_roots, v_left_refused) AS u(task_id, kind, root, refused)
        ORDER BY u.task_id, u.kind, u.refused
        ON CONFLICT (task_id, kind) DO UPDATE SET root = excluded.root, position = NULL, not_before = excluded.not_before;
    END IF;
END
$$;

-- Tells the children of tasks that have just ended, or were revived. A child whose change the database refuses keeps no parent from
-- its end: the step of upkeep tells these children, as what is beyond the budget.
CREATE OR REPLACE FUNCTION taskyard.cascade_begin(p_tasks uuid[], p_kinds smallint[], p_budget int, p_now timestamptz,
    OUT edges int, OUT woken int) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT c.edges, c.woken INTO edges, woken FROM taskyard.cascade_run(p_tasks, p_kinds, NULL, NULL, p_budget, p_now) c;
EXCEPTION
    -- The caller tries again.
    WHEN transaction_rollback OR lock_not_available THEN
        RAISE;
    WHEN OTHERS THEN
        edges := 0;
        woken := 0;
        PERFORM taskyard.upkeep_refused('tell the children of task ' || p_tasks[1] || ': ' || SQLERRM);
        INSERT INTO taskyard.cascade AS k (task_id, kind, not_before) SELECT u.*, p_now FROM unnest(p_tasks, p_kinds) AS u
        ON CONFLICT (task_id, kind) DO UPDATE SET position = NULL, not_before = excluded.not_before;
END
$$;
