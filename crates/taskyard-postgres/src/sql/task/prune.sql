-- One step of retention: looks at up to 10,000 tasks after the place where the last step stopped, deletes up to 1,000.
-- Ids grow with time, so the young ones (finished no longer ago than the retention, for they were added since) are
-- skipped: a cycle goes through the old ones, then through ids that are no UUIDv7 of ours, and starts again.
CREATE OR REPLACE FUNCTION taskyard.task_prune(p_done_us bigint, p_failed_us bigint, OUT tasks int, OUT more boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_done timestamptz := v_now - p_done_us * interval '1 microsecond';
    v_failed timestamptz := v_now - p_failed_us * interval '1 microsecond';
    v_young uuid := taskyard.uuid7_from(greatest(v_done, v_failed) + interval '1 day');
    v_future uuid := taskyard.uuid7_from(v_now + interval '1 day');
    v_position uuid;
    v_last uuid;
    v_seen int;
    v_ids uuid[];
    v_old boolean;
    v_purged record;
BEGIN
    tasks := 0;
    more := false;
    SELECT p.position INTO v_position FROM taskyard.prune p FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_position := coalesce(v_position, '00000000-0000-0000-0000-000000000000');
    IF v_position >= v_young AND v_position < v_future THEN
        v_position := v_future;
    END IF;
    v_old := v_position < v_young;
    WITH s AS MATERIALIZED (
        SELECT t.id, t.state, t.finished_at, row_number() OVER (ORDER BY t.id) AS place FROM (
            SELECT t.id, t.state, t.finished_at FROM taskyard.task t
            WHERE t.id > v_position AND (NOT v_old OR t.id < v_young) ORDER BY t.id LIMIT 10000) t
    ), d AS MATERIALIZED (
        SELECT s.id, s.place FROM s
        WHERE (s.state = 4 AND s.finished_at <= v_done) OR (s.state IN (3, 5, 6) AND s.finished_at <= v_failed)
        ORDER BY s.id LIMIT 1000
    )
    SELECT (SELECT array_agg(d.id) FROM d),
        CASE WHEN (SELECT count(*) FROM d) = 1000 THEN (SELECT d.id FROM d ORDER BY d.id DESC LIMIT 1)
            ELSE (SELECT s.id FROM s ORDER BY s.id DESC LIMIT 1) END,
        (SELECT count(*) FROM s)
    INTO v_ids, v_last, v_seen;
    IF v_ids IS NOT NULL THEN
        -- Those that are locked, or that the database refuses to delete, are left to the next cycle.
        SELECT e.* INTO v_purged FROM taskyard.task_each('purge', taskyard.task_free(v_ids, true), v_now) e;
        tasks := v_purged.done;
        PERFORM taskyard.upkeep_refused(v_purged.reason);
    END IF;
    IF v_seen = 10000 OR cardinality(v_ids) = 1000 THEN
        more := true;
    ELSIF v_old THEN
        v_last := v_future;
        more := EXISTS (SELECT FROM taskyard.task t WHERE t.id >= v_future);
    ELSE
        v_last := NULL;
    END IF;
    IF NOT more THEN
        v_last := NULL;
        DELETE FROM taskyard.unique_key k
        USING (SELECT u.key FROM taskyard.unique_key u WHERE u.until <= v_now FOR UPDATE SKIP LOCKED) f WHERE k.key = f.key;
        DELETE FROM taskyard.refused f WHERE f.at <= v_now - interval '1 day';
        DELETE FROM taskyard.server s
        USING (SELECT u.id FROM taskyard.server u WHERE u.dead_at <= v_now - interval '1 day'
            AND NOT EXISTS (SELECT FROM taskyard.claim c WHERE c.server_id = u.id) FOR UPDATE SKIP LOCKED) f
        WHERE s.id = f.id;
    END IF;
    UPDATE taskyard.prune SET position = v_last;
END
$$;
