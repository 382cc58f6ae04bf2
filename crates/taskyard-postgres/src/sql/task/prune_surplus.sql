-- One step of retention by number: deletes up to 1,000 dead letters and as many done tasks beyond it, the oldest first. Dead letters
-- count from when they died; done tasks in the order of their ids, so that finding them is a walk along an index. What ended within
-- the last minute stays: somebody may be waiting for it. One step at a time, or two would delete the same surplus twice. Where some
-- are left that are locked, or that the database refuses to delete, the next step goes on behind them, and begins anew at the end.
CREATE OR REPLACE FUNCTION taskyard.task_prune_surplus(p_done_max bigint, p_failed_max bigint, OUT tasks int, OUT more boolean)
LANGUAGE plpgsql SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_before timestamptz := taskyard.now() - interval '60 s';
    v_surplus bigint;
    v_ids uuid[];
    v_purged record;
    v_after uuid;
BEGIN
    tasks := 0;
    more := false;
    PERFORM FROM taskyard.prune p FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_failed_max > 0 THEN
        SELECT count(*) - p_failed_max INTO v_surplus FROM taskyard.dead;
        IF v_surplus > 0 THEN
            v_after := taskyard.prune_place('prune_failed_after');
            SELECT array_agg(s.task_id ORDER BY s.at, s.task_id) INTO v_ids FROM (
                SELECT o.task_id, o.at FROM (
                    SELECT d.task_id, d.at FROM taskyard.dead d ORDER BY d.at, d.task_id LIMIT v_surplus) o
                WHERE o.at <= v_before AND taskyard.task_is_leaf(o.task_id)
                    -- One that is gone is no place.
                    AND coalesce((o.at, o.task_id) > (SELECT d.at, d.task_id FROM taskyard.dead d WHERE d.task_id = v_after), true)
                ORDER BY o.at, o.task_id LIMIT 1000) s;
            SELECT e.* INTO v_purged FROM taskyard.task_each('purge', taskyard.task_free(v_ids, true), taskyard.now()) e;
            tasks := v_purged.done;
            PERFORM taskyard.upkeep_refused(v_purged.reason);
            PERFORM taskyard.prune_place_set('prune_failed_after', v_after, v_ids, v_purged.done);
        END IF;
    END IF;
    IF p_done_max > 0 AND tasks < 1000 THEN
        SELECT count(*) - p_done_max INTO v_surplus FROM taskyard.task t WHERE t.state = 4;
        IF v_surplus > 0 THEN
            v_after := taskyard.prune_place('prune_done_after');
            SELECT array_agg(s.id ORDER BY s.id) INTO v_ids FROM (
                SELECT o.id FROM (
                    SELECT t.id, t.finished_at FROM taskyard.task t WHERE t.state = 4 ORDER BY t.id LIMIT v_surplus) o
                WHERE o.finished_at <= v_before AND taskyard.task_is_leaf(o.id) AND (v_after IS NULL OR o.id > v_after)
                ORDER BY o.id LIMIT 1000) s;
            SELECT e.* INTO v_purged FROM taskyard.task_each('purge', taskyard.task_free(v_ids, true), taskyard.now()) e;
            tasks := tasks + v_purged.done;
            PERFORM taskyard.upkeep_refused(v_purged.reason);
            PERFORM taskyard.prune_place_set('prune_done_after', v_after, v_ids, v_purged.done);
        END IF;
    END IF;
    more := tasks >= 1000;
END
$$;

-- Behind which task a step of retention by number goes on; null: at the beginning.
CREATE OR REPLACE FUNCTION taskyard.prune_place(p_name text) RETURNS uuid LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT nullif(s.value, '')::uuid FROM taskyard.setting s WHERE s.name = p_name
$$;

-- Notes it after a step from p_after that looked at p_ids and deleted p_done of them.
CREATE OR REPLACE FUNCTION taskyard.prune_place_set(p_name text, p_after uuid, p_ids uuid[], p_done int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count int := coalesce(cardinality(p_ids), 0);
    v_place uuid := CASE WHEN v_count < 1000 OR (p_after IS NULL AND p_done = v_count) THEN NULL ELSE p_ids[v_count] END;
BEGIN
    IF v_place IS DISTINCT FROM p_after THEN
        INSERT INTO taskyard.setting (name, value) VALUES (p_name, coalesce(v_place::text, ''))
        ON CONFLICT (name) DO UPDATE SET value = excluded.value;
    END IF;
END
$$;

-- Whether nothing unfinished hangs on a task.
CREATE OR REPLACE FUNCTION taskyard.task_is_leaf(p_id uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (
            SELECT FROM taskyard.edge e JOIN taskyard.task c ON c.id = e.child_id
            WHERE e.parent_id = p_id AND c.state NOT BETWEEN 3 AND 6)
        AND NOT EXISTS (SELECT FROM taskyard.cascade k WHERE k.task_id = p_id)
$$;
