-- One step of what has become due: start times and backoffs to enqueued, expired tasks to cancelled, auto-removed ones
-- away. due_us: until the next start time, end of a backoff, or expiry; an expiry is looked at each 100 ms at most.
CREATE OR REPLACE FUNCTION taskyard.task_promote(OUT enqueued int, OUT expired int, OUT removed int, OUT more boolean,
    OUT due_us bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_ids uuid[];
    v_expire uuid[];
    v_remove uuid[];
    v_gone uuid[];
    v_due timestamptz;
BEGIN
    WITH c AS MATERIALIZED (
        -- A task that somebody else holds locked is left to a later step.
        SELECT w.task_id FROM taskyard.waiting w JOIN taskyard.task t ON t.id = w.task_id
        WHERE w.reason IN (1, 2) AND w.run_at <= v_now
        ORDER BY w.run_at LIMIT 1000 FOR UPDATE OF w SKIP LOCKED FOR NO KEY UPDATE OF t SKIP LOCKED
    ), d AS (
        DELETE FROM taskyard.waiting w USING c WHERE w.task_id = c.task_id RETURNING w.task_id
    )
    SELECT array_agg(d.task_id ORDER BY d.task_id) INTO v_ids FROM d;
    enqueued := coalesce(cardinality(v_ids), 0);
    IF v_ids IS NOT NULL THEN
        UPDATE taskyard.task t SET state = 1 WHERE t.id = ANY(v_ids) AND t.state = 0;
        PERFORM taskyard.ready_insert(v_ids);
    END IF;

    WITH c AS MATERIALIZED (
        SELECT d.ctid AS place FROM taskyard.deadline d WHERE d.at <= v_now ORDER BY d.at LIMIT 1000
        FOR UPDATE SKIP LOCKED
    ), d AS (
        DELETE FROM taskyard.deadline d USING c WHERE d.ctid = c.place RETURNING d.task_id, d.what
    )
    SELECT array_agg(d.task_id) FILTER (WHERE d.what = 0), array_agg(d.task_id) FILTER (WHERE d.what = 1), count(*) = 1000
    INTO v_expire, v_remove, more FROM d;
    expired := 0;
    removed := 0;
    IF v_expire IS NOT NULL THEN
        expired := taskyard.task_expire(v_expire, v_now);
    END IF;
    IF v_remove IS NOT NULL THEN
        -- One that was retried since has another deadline when it ends again.
        SELECT array_agg(DISTINCT t.id) INTO v_remove FROM taskyard.task t
        WHERE t.id = ANY(v_remove) AND t.auto_remove AND t.state >= 3
            AND t.finished_at <= v_now - interval '60 s';
        v_gone := taskyard.task_purge(v_remove);
        removed := coalesce(cardinality(v_gone), 0);
        INSERT INTO taskyard.deadline (at, task_id, what)
        SELECT v_now + interval '60 s', r.id, 1 FROM unnest(v_remove) AS r(id)
        WHERE r.id NOT IN (SELECT unnest(v_gone));
    END IF;
    more := more OR enqueued = 1000;
    IF NOT more AND EXISTS (SELECT FROM taskyard.queue q WHERE q.draining) THEN
        PERFORM taskyard.queue_settle(q.name, 1000) FROM taskyard.queue q WHERE q.draining LIMIT 100;
    END IF;
    SELECT w.run_at INTO v_due FROM taskyard.waiting w WHERE w.reason IN (1, 2) AND w.run_at IS NOT NULL
    ORDER BY w.run_at LIMIT 1;
    due_us := taskyard.micros_until(v_due, v_now);
    SELECT d.at INTO v_due FROM taskyard.deadline d WHERE d.what = 0 ORDER BY d.at LIMIT 1;
    IF v_due < 'infinity' THEN
        due_us := least(due_us, greatest(taskyard.micros_until(v_due, v_now), 100000));
    END IF;
END
$$;
