-- Groups of kinds. The sets of builds, the groups of the kinds and the groups' ends change only under kind_lock; a group's set
-- only ever loses builds that have no server any more. So a row that stands in a group whose number was read earlier is hidden
-- from no build that has not refused its kind.

-- Every change of builds, kinds and groups holds this lock until its commit, and so does every decision to park a task because
-- all live builds refused its kind: no server enters in between. A table's lock, for which a role needs the right to change the
-- table: every role that may connect can hold an advisory lock. A lock on its row would write, at each step of regrouping.
CREATE OR REPLACE FUNCTION taskyard.kind_lock() RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    LOCK TABLE taskyard.kind_walk IN SHARE ROW EXCLUSIVE MODE
$$;

-- The same without waiting; answers whether the lock is held now.
CREATE OR REPLACE FUNCTION taskyard.kind_try_lock() RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE taskyard.kind_walk IN SHARE ROW EXCLUSIVE MODE NOWAIT;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;

-- Of these groups those that are there, each locked with KEY SHARE until the end of the transaction: a group is only deleted
-- while no transaction holds it, so no row is left in a deleted group. The others are 0, where all kinds may stand.
CREATE OR REPLACE FUNCTION taskyard.kind_hold(p_groups int[]) RETURNS int[] LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_held int[];
BEGIN
    IF NOT EXISTS (SELECT FROM unnest(p_groups) AS u(id) WHERE u.id <> 0) THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(l.id) INTO v_held FROM (
        SELECT g.id FROM taskyard.kind_group g WHERE g.id = ANY(p_groups) ORDER BY g.id FOR KEY SHARE) l;
    RETURN ARRAY(SELECT CASE WHEN u.id = ANY(v_held) THEN u.id ELSE 0 END
        FROM unnest(p_groups) WITH ORDINALITY AS u(id, place) ORDER BY u.place);
END
$$;

-- The groups of these kinds, held; null if all are in group 0.
CREATE OR REPLACE FUNCTION taskyard.kind_groups(p_runtimes smallint[], p_kinds text[]) RETURNS int[] LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
    SELECT taskyard.kind_hold(ARRAY(SELECT coalesce(
            (SELECT k.group_id FROM taskyard.kind k WHERE k.runtime = u.runtime AND k.kind = u.kind), 0)
        FROM unnest(p_runtimes, p_kinds) WITH ORDINALITY AS u(runtime, kind, place) ORDER BY u.place))
$$;

-- The same for the kinds of these tasks.
CREATE OR REPLACE FUNCTION taskyard.kind_groups_of(p_ids uuid[]) RETURNS int[] LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
    SELECT taskyard.kind_hold(ARRAY(SELECT coalesce(
            (SELECT k.group_id FROM taskyard.task t JOIN taskyard.kind k ON k.runtime = t.runtime AND k.kind = t.kind
             WHERE t.id = u.id), 0)
        FROM unnest(p_ids) WITH ORDINALITY AS u(id, place) ORDER BY u.place))
$$;

-- These lanes in every group. In one statement with what it is compared with, so that no row is on its way between two groups.
CREATE OR REPLACE FUNCTION taskyard.ready_lanes(p_lanes int[]) RETURNS bigint[] LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(l.lane + (g.id::bigint << 32)) FROM unnest(p_lanes) AS l(lane)
        CROSS JOIN (SELECT 0 AS id UNION ALL SELECT k.id FROM taskyard.kind_group k) g
$$;

-- Whether a server that is not declared dead may run tasks of this runtime and queue of a kind that these builds refused. One of
-- a program that does not say what it serves may run anything.
CREATE OR REPLACE FUNCTION taskyard.kind_has_server(p_runtime smallint, p_queue text, p_refused int[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM taskyard.server s WHERE s.dead_at IS NULL AND (s.queues IS NULL OR p_queue = ANY(s.queues))
        AND (s.builds IS NULL OR s.builds[p_runtime + 1] <> ALL(p_refused)))
$$;
