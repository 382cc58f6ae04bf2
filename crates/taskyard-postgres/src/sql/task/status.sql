-- The whole database in figures. Runnable, waiting, running and failed tasks are counted in the small tables; of the
-- others, in a large database (over 160 MB), the statistics tell how many there are and a sample of pages which: the codes
-- of those states are in `estimated`.
CREATE OR REPLACE FUNCTION taskyard.task_figures(OUT by_state bigint[], OUT servers bigint, OUT oldest_us bigint,
    OUT parked bigint, OUT estimated int[])
LANGUAGE plpgsql SET jit = off SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_pages bigint;
    v_total bigint;
    v_count bigint[];
    v_rest bigint;
    v_sum bigint;
    v_first bigint;
BEGIN
    SELECT c.relpages, c.reltuples INTO v_pages, v_total FROM pg_catalog.pg_class c
    WHERE c.oid = 'taskyard.task'::regclass;
    estimated := ARRAY[]::int[];
    IF v_pages <= 20000 OR v_total < 0 THEN
        SELECT array_agg(coalesce(c.n, 0) ORDER BY s.state) INTO by_state FROM generate_series(0, 6) AS s(state)
            LEFT JOIN (SELECT t.state, count(*) AS n FROM taskyard.task t GROUP BY t.state) c ON c.state = s.state;
    ELSE
        by_state := ARRAY[
            (SELECT count(*) FROM taskyard.waiting),
            (SELECT count(*) FROM taskyard.ready),
            (SELECT count(DISTINCT t.id) FROM taskyard.claim k CROSS JOIN unnest(k.task_ids) AS i(id)
                JOIN taskyard.task t ON t.id = i.id AND t.state = 2),
            0, 0, (SELECT count(*) FROM taskyard.dead), 0];
        v_rest := greatest(v_total - by_state[1] - by_state[2] - by_state[3] - by_state[6], 0);
        SELECT ARRAY[count(*) FILTER (WHERE t.state = 3), count(*) FILTER (WHERE t.state = 4),
            count(*) FILTER (WHERE t.state = 6)]
        INTO v_count FROM taskyard.task t TABLESAMPLE SYSTEM (1);
        v_sum := greatest(v_count[1] + v_count[2] + v_count[3], 1);
        by_state[4] := v_rest * v_count[1] / v_sum;
        by_state[5] := v_rest * v_count[2] / v_sum;
        by_state[7] := v_rest * v_count[3] / v_sum;
        estimated := ARRAY[3, 4, 6];
    END IF;
    SELECT count(*) INTO servers FROM taskyard.server s WHERE s.dead_at IS NULL AND s.lease_until > v_now;
    SELECT count(*) INTO parked FROM taskyard.waiting w WHERE w.reason = 3;
    SELECT min(r.order_number) INTO v_first FROM taskyard.ready r
    WHERE r.queue NOT IN (SELECT q.name FROM taskyard.queue q WHERE q.paused);
    IF v_first IS NOT NULL THEN
        -- None if it has been claimed meanwhile; greatest() would pass over that null.
        SELECT taskyard.micros_until(v_now, min(greatest(t.created_at, v_now - interval '36525 days'))) INTO oldest_us
        FROM taskyard.ready r JOIN taskyard.task t ON t.id = r.task_id WHERE r.order_number = v_first;
    END IF;
END
$$;

-- The same without `estimated`, as programs of older builds call it.
CREATE OR REPLACE FUNCTION taskyard.task_status(OUT by_state bigint[], OUT servers bigint, OUT oldest_us bigint,
    OUT parked bigint)
LANGUAGE sql SET jit = off SET search_path = pg_catalog, pg_temp AS $$
    SELECT f.by_state, f.servers, f.oldest_us, f.parked FROM taskyard.task_figures() f
$$;
