-- Works off cascade rows, oldest first; any server may. What is left of them is written again.
CREATE OR REPLACE FUNCTION taskyard.cascade_step(OUT tasks int, OUT more boolean, OUT woken int, OUT ended int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tasks uuid[];
    v_kinds smallint[];
    v_roots uuid[];
    v_positions uuid[];
BEGIN
    WITH c AS MATERIALIZED (
        SELECT k.task_id, k.kind FROM taskyard.cascade k ORDER BY k.sequence LIMIT 100 FOR UPDATE SKIP LOCKED
    ), d AS (
        DELETE FROM taskyard.cascade k USING c WHERE k.task_id = c.task_id AND k.kind = c.kind
        RETURNING k.task_id, k.kind, k.root, k.position, k.sequence
    )
    SELECT array_agg(d.task_id ORDER BY d.sequence), array_agg(d.kind ORDER BY d.sequence),
        array_agg(d.root ORDER BY d.sequence), array_agg(d.position ORDER BY d.sequence)
    INTO v_tasks, v_kinds, v_roots, v_positions FROM d;
    IF v_tasks IS NULL THEN
        tasks := 0;
        more := false;
        woken := 0;
        ended := 0;
        RETURN;
    END IF;
    SELECT c.edges, c.woken, c.ended, c.more INTO tasks, woken, ended, more
    FROM taskyard.cascade_run(v_tasks, v_kinds, v_roots, v_positions, 1000, taskyard.now()) c;
    more := more OR EXISTS (SELECT FROM taskyard.cascade);
END
$$;
