-- One step of keeping the groups of kinds: builds without a server are deleted, groups without a kind are emptied and
-- deleted, runnable rows are moved to the groups of their kinds, and rows that no live server takes are parked. Rows that
-- other transactions hold locked are left to a later step. tasks: how many were moved or parked; parked: how many of them.
CREATE OR REPLACE FUNCTION taskyard.kind_regroup(p_limit int, OUT tasks int, OUT parked int, OUT groups int,
    OUT more boolean) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_build int;
    v_group taskyard.kind_group;
    v_set int[];
    v_same int;
    v_first bigint;
    v_end bigint;
    v_lane bigint;
    v_count int;
    v_walk taskyard.kind_walk;
    v_seen int;
BEGIN
    tasks := 0;
    parked := 0;
    groups := 0;
    more := false;
    IF NOT EXISTS (SELECT FROM taskyard.build) OR NOT taskyard.kind_try_lock() THEN
        RETURN;
    END IF;
    UPDATE taskyard.build b SET seen_at = v_now
    WHERE b.seen_at NOT BETWEEN v_now - interval '10 s' AND v_now + interval '10 s' AND EXISTS (
        SELECT FROM taskyard.server s WHERE s.dead_at IS NULL AND s.builds[b.runtime + 1] = b.id);
    -- A server that comes back within a minute finds what its build was found not to know.
    FOR v_build IN
        SELECT b.id FROM taskyard.build b
        WHERE b.seen_at NOT BETWEEN v_now - interval '60 s' AND v_now + interval '60 s' ORDER BY b.id LIMIT 10
    LOOP
        FOR v_group IN SELECT g.* FROM taskyard.kind_group g WHERE v_build = ANY(g.builds) ORDER BY g.id LOOP
            v_set := array_remove(v_group.builds, v_build);
            v_same := NULL;
            IF v_set = '{}' THEN
                DELETE FROM taskyard.kind k WHERE k.group_id = v_group.id;
            ELSIF NOT v_group.draining THEN
                SELECT g.id INTO v_same FROM taskyard.kind_group g
                WHERE g.runtime = v_group.runtime AND g.builds = v_set AND NOT g.draining;
                UPDATE taskyard.kind k SET group_id = v_same WHERE v_same IS NOT NULL AND k.group_id = v_group.id;
            END IF;
            UPDATE taskyard.kind_group g SET builds = v_set, draining = g.draining OR v_set = '{}' OR v_same IS NOT NULL
            WHERE g.id = v_group.id;
        END LOOP;
        DELETE FROM taskyard.build b WHERE b.id = v_build;
    END LOOP;
    UPDATE taskyard.kind_group g SET draining = true
    WHERE NOT g.draining AND NOT EXISTS (SELECT FROM taskyard.kind k WHERE k.group_id = g.id);

    FOR v_group IN SELECT g.* FROM taskyard.kind_group g ORDER BY g.id LOOP
        v_first := (v_group.id::bigint << 32) - 2;
        v_end := v_first + (1::bigint << 32);
        IF v_group.draining THEN
            WITH c AS MATERIALIZED (
                SELECT r.turn, r.ctid AS place, r.task_id FROM taskyard.ready r WHERE r.lane >= v_first AND r.lane < v_end
                ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit FOR UPDATE SKIP LOCKED
            ), n AS MATERIALIZED (
                SELECT c.turn, c.place, coalesce(k.group_id, 0) AS group_id
                FROM c LEFT JOIN taskyard.task t ON t.id = c.task_id
                    LEFT JOIN taskyard.kind k ON k.runtime = t.runtime AND k.kind = t.kind
            )
            UPDATE taskyard.ready r SET lane = r.lane + ((n.group_id - v_group.id)::bigint << 32)
            FROM n WHERE r.turn = n.turn AND r.ctid = n.place;
            GET DIAGNOSTICS v_count = ROW_COUNT;
            tasks := tasks + v_count;
            more := more OR v_count >= p_limit;
            IF v_count < p_limit THEN
                PERFORM FROM taskyard.kind_group g WHERE g.id = v_group.id FOR UPDATE SKIP LOCKED;
                IF FOUND THEN
                    -- A statement of its own: it sees what those that held the group have committed.
                    DELETE FROM taskyard.kind_group g WHERE g.id = v_group.id AND NOT EXISTS (
                        SELECT FROM taskyard.ready r WHERE r.lane >= v_first AND r.lane < v_end);
                END IF;
            END IF;
            CONTINUE;
        END IF;
        -- Most groups have a server that takes all of their tasks.
        CONTINUE WHEN EXISTS (SELECT FROM taskyard.server s WHERE s.dead_at IS NULL AND s.queues IS NULL
            AND (s.builds IS NULL OR s.builds[v_group.runtime + 1] <> ALL(v_group.builds)));
        v_lane := v_first - 1;
        LOOP
            SELECT r.lane INTO v_lane FROM taskyard.ready r WHERE r.lane > v_lane AND r.lane < v_end ORDER BY r.lane LIMIT 1;
            EXIT WHEN NOT FOUND OR parked >= p_limit;
            WITH h AS MATERIALIZED (
                SELECT r.turn, r.ctid AS place, r.queue FROM taskyard.ready r WHERE r.lane = v_lane
                ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit
            ), q AS MATERIALIZED (
                SELECT DISTINCT h.queue FROM h
            ), o AS MATERIALIZED (
                SELECT q.queue FROM q WHERE taskyard.kind_has_server(v_group.runtime, q.queue, '{}')
                    AND NOT taskyard.kind_has_server(v_group.runtime, q.queue, v_group.builds)
            ), c AS MATERIALIZED (
                SELECT r.turn, r.ctid AS place FROM h JOIN taskyard.ready r ON r.turn = h.turn AND r.ctid = h.place
                    JOIN taskyard.task t ON t.id = r.task_id
                WHERE r.lane = v_lane AND h.queue IN (SELECT o.queue FROM o)
                FOR UPDATE OF r SKIP LOCKED FOR NO KEY UPDATE OF t SKIP LOCKED
            ), d AS (
                DELETE FROM taskyard.ready r USING c WHERE r.turn = c.turn AND r.ctid = c.place RETURNING r.task_id
            ), u AS (
                UPDATE taskyard.task t SET state = 0 FROM (SELECT d.task_id FROM d ORDER BY d.task_id) o
                WHERE t.id = o.task_id AND t.state = 1 RETURNING t.id, t.runtime, t.queue, t.kind
            )
            INSERT INTO taskyard.waiting (task_id, reason, runtime, queue, parked)
            SELECT u.id, 3, u.runtime, u.queue, 'kind `' || u.kind || '`' FROM u;
            GET DIAGNOSTICS v_count = ROW_COUNT;
            parked := parked + v_count;
            more := more OR v_count >= p_limit;
        END LOOP;
    END LOOP;
    tasks := tasks + parked;
    SELECT count(*) INTO groups FROM taskyard.kind_group;

    SELECT w.* INTO v_walk FROM taskyard.kind_walk w WHERE w.walked <> w.version;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH h AS MATERIALIZED (
        SELECT r.turn, r.ctid AS place, r.lane, r.rank, r.order_number, r.task_id FROM taskyard.ready r
        WHERE (r.lane, r.rank, r.order_number) > (coalesce(v_walk.lane, -9223372036854775808),
            coalesce(v_walk.rank, -2147483648), coalesce(v_walk.order_number, -9223372036854775808))
        ORDER BY r.lane, r.rank, r.order_number LIMIT p_limit
    ), n AS MATERIALIZED (
        SELECT h.turn, h.place, h.lane, k.group_id FROM h JOIN taskyard.task t ON t.id = h.task_id
            JOIN taskyard.kind k ON k.runtime = t.runtime AND k.kind = t.kind
        WHERE k.group_id <> (h.lane + 2) >> 32
    ), c AS MATERIALIZED (
        SELECT r.turn, r.ctid AS place, r.lane - (((r.lane + 2) >> 32) << 32) + (n.group_id::bigint << 32) AS lane
        FROM n JOIN taskyard.ready r ON r.turn = n.turn AND r.ctid = n.place
        WHERE r.lane = n.lane FOR UPDATE OF r SKIP LOCKED
    ), u AS (
        UPDATE taskyard.ready r SET lane = c.lane FROM c WHERE r.turn = c.turn AND r.ctid = c.place RETURNING 1
    ), l AS (
        SELECT h.lane, h.rank, h.order_number FROM h ORDER BY h.lane DESC, h.rank DESC, h.order_number DESC LIMIT 1
    ), w AS (
        UPDATE taskyard.kind_walk w SET lane = l.lane, rank = l.rank, order_number = l.order_number,
            walking = coalesce(w.walking, w.version)
        FROM l RETURNING 1
    )
    SELECT (SELECT count(*) FROM u), (SELECT count(*) FROM h) INTO v_count, v_seen;
    tasks := tasks + v_count;
    IF v_seen < p_limit THEN
        UPDATE taskyard.kind_walk w SET walked = coalesce(w.walking, w.version), walking = NULL, lane = NULL, rank = NULL,
            order_number = NULL;
    END IF;
    more := more OR v_seen >= p_limit;
END
$$;
