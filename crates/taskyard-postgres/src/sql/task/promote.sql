-- Moves tasks whose start time or backoff is over to enqueued; returns how many.
CREATE OR REPLACE FUNCTION taskyard.task_start(p_ids uuid[]) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[];
    v_count int;
BEGIN
    WITH d AS (
        DELETE FROM taskyard.waiting w WHERE w.task_id = ANY(p_ids) AND w.reason IN (1, 2) RETURNING w.task_id
    )
    SELECT array_agg(d.task_id ORDER BY d.task_id) INTO v_ids FROM d;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE taskyard.task t SET state = 1 WHERE t.id = ANY(v_ids) AND t.state = 0;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count < cardinality(v_ids) THEN
        PERFORM taskyard.task_refuse_left(v_ids, 0::smallint, 'a trigger skips its start');
    END IF;
    PERFORM taskyard.ready_insert(v_ids);
    RETURN cardinality(v_ids);
END
$$;

-- One step of what has become due: start times and backoffs to enqueued, expired tasks to cancelled, auto-removed ones
-- away. due_us: until the next start time, end of a backoff, or expiry; an expiry is looked at each 100 ms at most.
-- Tasks that are locked, or that the database refuses to change, are looked at again later and hold up no other.
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
    v_each record;
    v_full boolean;
    v_taken int;
    v_kept int;
    v_due timestamptz;
BEGIN
    enqueued := 0;
    expired := 0;
    removed := 0;
    SELECT array_agg(l.task_id) INTO v_ids FROM (
        SELECT w.task_id FROM taskyard.waiting w JOIN taskyard.task t ON t.id = w.task_id
        WHERE w.reason IN (1, 2) AND w.run_at <= v_now
        ORDER BY w.run_at LIMIT 1000 FOR UPDATE OF w SKIP LOCKED FOR NO KEY UPDATE OF t SKIP LOCKED) l;
    v_full := coalesce(cardinality(v_ids), 0) = 1000;
    IF v_ids IS NOT NULL THEN
        SELECT e.* INTO v_each FROM taskyard.task_each('start', v_ids, v_now) e;
        enqueued := v_each.done;
        PERFORM taskyard.upkeep_refused(v_each.reason);
        UPDATE taskyard.waiting w SET run_at = v_now + taskyard.set_back(w.task_id = ANY(v_each.refused))
        WHERE w.task_id = ANY(v_each.refused || v_each.locked);
    END IF;

    WITH c AS MATERIALIZED (
        SELECT d.ctid AS place FROM taskyard.deadline d WHERE d.at <= v_now ORDER BY d.at LIMIT 1000
        FOR UPDATE SKIP LOCKED
    ), d AS (
        DELETE FROM taskyard.deadline d USING c WHERE d.ctid = c.place RETURNING d.task_id, d.what
    )
    SELECT array_agg(d.task_id) FILTER (WHERE d.what = 0), array_agg(d.task_id) FILTER (WHERE d.what = 1), count(*)
    INTO v_expire, v_remove, v_taken FROM d;
    more := v_taken = 1000;
    IF v_expire IS NOT NULL THEN
        SELECT e.* INTO v_each FROM taskyard.task_each('expire', v_expire, v_now) e;
        expired := v_each.done;
        PERFORM taskyard.upkeep_refused(v_each.reason);
        INSERT INTO taskyard.deadline (at, task_id, what)
        SELECT v_now + CASE WHEN r.id = ANY(v_each.untried) THEN interval '0' ELSE taskyard.set_back(r.id = ANY(v_each.refused)) END,
            r.id, 0
        FROM unnest(v_each.refused || v_each.locked || v_each.untried) AS r(id);
        GET DIAGNOSTICS v_kept = ROW_COUNT;
        v_taken := v_taken - v_kept;
    END IF;
    IF v_remove IS NOT NULL THEN
        -- One that was retried since has another deadline when it ends again.
        SELECT array_agg(DISTINCT t.id) INTO v_remove FROM taskyard.task t
        WHERE t.id = ANY(v_remove) AND t.auto_remove AND t.state >= 3
            AND t.finished_at <= v_now - interval '60 s';
    END IF;
    IF v_remove IS NOT NULL THEN
        SELECT e.* INTO v_each FROM taskyard.task_each('purge', taskyard.task_free(v_remove, true), v_now) e;
        removed := v_each.done;
        PERFORM taskyard.upkeep_refused(v_each.reason);
        INSERT INTO taskyard.deadline (at, task_id, what)
        SELECT v_now + interval '60 s', t.id, 1 FROM taskyard.task t WHERE t.id = ANY(v_remove);
        GET DIAGNOSTICS v_kept = ROW_COUNT;
        v_taken := v_taken - v_kept;
    END IF;
    -- Where none of them could be changed, the next look is soon enough.
    more := more AND v_taken > 0 OR v_full AND enqueued > 0;
    IF NOT more AND EXISTS (SELECT FROM taskyard.queue q WHERE q.draining) THEN
        BEGIN
            PERFORM taskyard.queue_settle(q.name, 1000) FROM taskyard.queue q WHERE q.draining LIMIT 100;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
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
