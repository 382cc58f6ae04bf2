-- Comparing tasks with the runnable range. An enqueued task without its row there is claimed by nobody: a dump whose snapshot
-- is older than a truncation of a part of the range lacks such rows. The range can be rebuilt from the tasks at any time.

-- Of these tasks those that are enqueued and seem to have no row in the range. Looks where the row should stand only.
CREATE OR REPLACE FUNCTION taskyard.ready_missing(p_ids uuid[]) RETURNS uuid[] LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(t.id ORDER BY t.id), '{}') FROM taskyard.task t LEFT JOIN taskyard.queue q ON q.name = t.queue
    WHERE t.id = ANY(p_ids) AND t.state = 1
        AND NOT EXISTS (SELECT FROM taskyard.ready r
            WHERE r.lane = ANY(taskyard.ready_lanes(ARRAY[t.runtime::int, coalesce(2 * q.id + 2, 0) + t.runtime, -1 - t.runtime::int]))
                AND r.rank = ~t.priority AND r.order_number = t.order_number)
        -- One that was postponed, though the database accepted no change of it.
        AND NOT EXISTS (SELECT FROM taskyard.waiting w WHERE w.task_id = t.id)
        AND NOT EXISTS (SELECT FROM taskyard.ready r WHERE r.ages_at IS NOT NULL AND r.task_id = t.id)
$$;

-- Puts those of these tasks into the range that have no row there; how many. Each is looked at again under its task's lock, which
-- every move into the range and out of it takes, so that none is doubled; one that somebody else holds is on its way.
CREATE OR REPLACE FUNCTION taskyard.ready_repair(p_ids uuid[]) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[];
BEGIN
    SELECT array_agg(l.id) INTO v_ids FROM (
        SELECT t.id FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state = 1 ORDER BY t.id
        FOR NO KEY UPDATE SKIP LOCKED) l;
    -- By the whole range, wherever a row of theirs may stand.
    SELECT array_agg(t.id ORDER BY t.id) INTO v_ids FROM taskyard.task t
    WHERE t.id = ANY(v_ids) AND t.state = 1 AND t.id NOT IN (SELECT r.task_id FROM taskyard.ready r WHERE r.task_id = ANY(v_ids))
        AND NOT EXISTS (SELECT FROM taskyard.waiting w WHERE w.task_id = t.id);
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM taskyard.ready_insert(v_ids);
    RETURN cardinality(v_ids);
END
$$;

-- Compares up to p_limit tasks after p_after, in id order; and repairs, if told to. last: the last one that was looked at, null
-- at the end.
CREATE OR REPLACE FUNCTION taskyard.ready_compare(p_after uuid, p_limit int, p_repair boolean, OUT seen int, OUT missing int,
    OUT repaired int, OUT last uuid) LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[];
    v_missing uuid[];
BEGIN
    IF p_repair THEN
        -- A dump of parts of the tables may have left out its one row.
        INSERT INTO taskyard.ready_turn (turn) VALUES (0) ON CONFLICT DO NOTHING;
    END IF;
    SELECT count(*), array_agg(l.id) FILTER (WHERE l.state = 1), (array_agg(l.id ORDER BY l.id DESC))[1]
    INTO seen, v_ids, last FROM (
        SELECT t.id, t.state FROM taskyard.task t WHERE t.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
        ORDER BY t.id LIMIT p_limit) l;
    v_missing := taskyard.ready_missing(coalesce(v_ids, '{}'));
    missing := cardinality(v_missing);
    repaired := CASE WHEN p_repair AND missing > 0 THEN taskyard.ready_repair(v_missing) ELSE 0 END;
    IF seen < p_limit THEN
        last := NULL;
    END IF;
END
$$;

-- How many tasks of some 64 random pages are enqueued and stand in no range.
CREATE OR REPLACE FUNCTION taskyard.ready_sample() RETURNS bigint LANGUAGE plpgsql SET jit = off
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_percent real := least(100, 6400.0 / greatest(pg_relation_size('taskyard.task') / 8192, 1));
    v_ids uuid[];
BEGIN
    SELECT array_agg(t.id) INTO v_ids FROM taskyard.task t TABLESAMPLE SYSTEM (v_percent) WHERE t.state = 1;
    -- A statement of its own: what was claimed since is enqueued no more.
    RETURN cardinality(taskyard.ready_missing(coalesce(v_ids, '{}')));
END
$$;

-- Which tables these are: other ones after a restore.
CREATE OR REPLACE FUNCTION taskyard.ready_home() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws('/', split_part(taskyard.timeline(), '/', 1), d.oid, 'taskyard.task'::regclass::oid)
    FROM pg_catalog.pg_database d WHERE d.datname = current_database()
$$;

-- Whether all tasks had better be compared: they were restored since that was done, or a sample shows some that are missing.
CREATE OR REPLACE FUNCTION taskyard.ready_suspect() RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT taskyard.ready_home() IS DISTINCT FROM (SELECT s.value FROM taskyard.setting s WHERE s.name = 'ranges_compared')
        OR taskyard.ready_sample() > 0
$$;

-- All tasks were compared, and what was missing was repaired.
CREATE OR REPLACE FUNCTION taskyard.ready_compared() RETURNS void LANGUAGE sql
SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO taskyard.setting (name, value) VALUES ('ranges_compared', taskyard.ready_home())
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
$$;
