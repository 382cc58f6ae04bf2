-- Works off cascade rows, oldest first; any server may. What is left of them is written again.
CREATE OR REPLACE FUNCTION taskyard.cascade_step(OUT tasks int, OUT more boolean, OUT woken int, OUT ended int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '50ms' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tasks uuid[];
    v_kinds smallint[];
    v_roots uuid[];
    v_positions uuid[];
    v_until timestamptz;
    v_told record;
    v_reason text;
    v_now timestamptz := taskyard.now();
    v_not_before timestamptz[];
BEGIN
    -- A deferred constraint would be checked at the commit, and undo the whole step.
    SET CONSTRAINTS ALL IMMEDIATE;
    WITH c AS MATERIALIZED (
        SELECT k.task_id, k.kind FROM taskyard.cascade k WHERE k.not_before IS NULL OR k.not_before <= v_now
        ORDER BY k.sequence LIMIT 100 FOR UPDATE SKIP LOCKED
    ), d AS (
        DELETE FROM taskyard.cascade k USING c WHERE k.task_id = c.task_id AND k.kind = c.kind
        RETURNING k.task_id, k.kind, k.root, k.position, k.not_before, k.sequence
    )
    SELECT array_agg(d.task_id ORDER BY d.sequence), array_agg(d.kind ORDER BY d.sequence),
        array_agg(d.root ORDER BY d.sequence), array_agg(d.position ORDER BY d.sequence),
        array_agg(d.not_before ORDER BY d.sequence)
    INTO v_tasks, v_kinds, v_roots, v_positions, v_not_before FROM d;
    IF v_tasks IS NULL THEN
        tasks := 0;
        more := false;
        woken := 0;
        ended := 0;
        RETURN;
    END IF;
    -- Behind what was read: a child never ends before the parent that it follows.
    v_now := taskyard.now();
    BEGIN
        -- Unless a step before met a child that is locked, or whose change is refused.
        IF array_remove(v_not_before, NULL) = '{}' THEN
            SELECT c.edges, c.woken, c.ended INTO tasks, woken, ended
            FROM taskyard.cascade_run(v_tasks, v_kinds, v_roots, v_positions, 1000, v_now) c;
            more := EXISTS (SELECT FROM taskyard.cascade k WHERE k.not_before IS NULL OR k.not_before <= v_now);
            RETURN;
        END IF;
    EXCEPTION
        -- A serialization failure or a deadlock ends the transaction.
        WHEN transaction_rollback THEN
            RAISE;
        WHEN OTHERS THEN
            NULL;
    END;
    -- Parent by parent, around such children; so do the next steps with those that the time does not suffice for.
    tasks := 0;
    woken := 0;
    ended := 0;
    v_until := clock_timestamp() + interval '350 ms';
    PERFORM set_config('taskyard.around_locks', 'on', true), set_config('lock_timeout', '10ms', true);
    FOR v_at IN 1 .. cardinality(v_tasks) LOOP
        BEGIN
            IF clock_timestamp() < v_until THEN
                SELECT c.* INTO v_told FROM taskyard.cascade_run(v_tasks[v_at:v_at], v_kinds[v_at:v_at], v_roots[v_at:v_at],
                    v_positions[v_at:v_at], 1000, v_now) c;
                tasks := tasks + v_told.edges;
                woken := woken + v_told.woken;
                ended := ended + v_told.ended;
                CONTINUE;
            END IF;
        EXCEPTION
            WHEN lock_not_available THEN
                v_not_before[v_at] := v_now + taskyard.set_back(false);
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                v_not_before[v_at] := v_now + taskyard.set_back(true);
                v_reason := 'tell the children of task ' || v_tasks[v_at] || ': ' || SQLERRM;
        END;
        INSERT INTO taskyard.cascade AS k (task_id, kind, root, position, not_before)
        VALUES (v_tasks[v_at], v_kinds[v_at], v_roots[v_at], v_positions[v_at], coalesce(v_not_before[v_at], v_now))
        ON CONFLICT (task_id, kind) DO UPDATE SET root = excluded.root, position = NULL, not_before = excluded.not_before;
    END LOOP;
    PERFORM taskyard.upkeep_refused(v_reason);
    -- Where none was told, the next look is soon enough.
    more := tasks > 0 AND EXISTS (SELECT FROM taskyard.cascade k WHERE k.not_before IS NULL OR k.not_before <= v_now);
END
$$;
