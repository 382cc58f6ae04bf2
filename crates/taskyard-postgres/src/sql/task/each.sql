-- Upkeep changes many tasks at once. A row that another transaction holds locked, or whose change the database refuses (a
-- constraint or a trigger of the application), must not hold up the others.

-- How long upkeep leaves a task alone that is locked, or whose change the database refuses.
CREATE OR REPLACE FUNCTION taskyard.set_back(p_is_refused boolean) RETURNS interval LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_is_refused THEN interval '10 s' ELSE interval '500 ms' END
$$;

-- Locks these tasks, for a deletion or for another change, and the rows of their unique keys. Returns those of which no other
-- transaction holds either, in id order.
CREATE OR REPLACE FUNCTION taskyard.task_free(p_ids uuid[], p_deletes boolean) RETURNS uuid[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[];
    v_keys text[];
    v_free uuid[];
BEGIN
    IF p_deletes THEN
        SELECT array_agg(l.id), array_agg(l.unique_key) FILTER (WHERE l.unique_key IS NOT NULL) INTO v_ids, v_keys FROM (
            SELECT t.id, t.unique_key FROM taskyard.task t WHERE t.id = ANY(p_ids) ORDER BY t.id FOR UPDATE SKIP LOCKED) l;
    ELSE
        SELECT array_agg(l.id), array_agg(l.unique_key) FILTER (WHERE l.unique_key IS NOT NULL) INTO v_ids, v_keys FROM (
            SELECT t.id, t.unique_key FROM taskyard.task t WHERE t.id = ANY(p_ids) ORDER BY t.id
            FOR NO KEY UPDATE SKIP LOCKED) l;
    END IF;
    IF v_keys IS NULL THEN
        RETURN coalesce(v_ids, '{}');
    END IF;
    SELECT array_agg(l.task_id) INTO v_free FROM (
        SELECT k.task_id FROM taskyard.unique_key k WHERE k.key = ANY(v_keys) ORDER BY k.key FOR UPDATE SKIP LOCKED) l;
    -- Set operations, which take linear time: a thousand tasks may have a thousand keys.
    RETURN ARRAY(
        SELECT unnest(v_ids)
        EXCEPT (SELECT k.task_id FROM taskyard.unique_key k WHERE k.key = ANY(v_keys) EXCEPT SELECT unnest(v_free))
        ORDER BY 1);
END
$$;

-- One of the changes that `task_each` makes; returns how many tasks it changed.
CREATE OR REPLACE FUNCTION taskyard.task_change(p_change text, p_ids uuid[], p_now timestamptz) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE p_change
        WHEN 'start' THEN taskyard.task_start(p_ids)
        WHEN 'expire' THEN taskyard.task_expire(p_ids, p_now)
        WHEN 'lose' THEN taskyard.task_lose(p_ids, p_now)
        WHEN 'purge' THEN coalesce(cardinality(taskyard.task_purge_now(p_ids)), 0)
    END;
END
$$;

-- Changes these tasks all at once, or, where that fails, each alone, for 300 ms at most. locked: those that met a lock.
-- refused: those that the database refuses, with its last words in reason. untried: those that the time did not suffice for.
CREATE OR REPLACE FUNCTION taskyard.task_each(p_change text, p_ids uuid[], p_now timestamptz, OUT done int, OUT locked uuid[],
    OUT refused uuid[], OUT untried uuid[], OUT reason text)
LANGUAGE plpgsql SET lock_timeout = '50ms' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_until timestamptz;
    v_ids uuid[] := p_ids;
    v_free uuid[];
    v_id uuid;
BEGIN
    locked := '{}';
    refused := '{}';
    untried := '{}';
    -- A deferred constraint would be checked at the commit, and undo the whole step.
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR v_try IN 1 .. 2 LOOP
        BEGIN
            done := taskyard.task_change(p_change, v_ids, p_now);
            RETURN;
        EXCEPTION
            -- A serialization failure or a deadlock ends the transaction.
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                done := 0;
        END;
        EXIT WHEN v_try = 2;
        PERFORM set_config('lock_timeout', '10ms', true);
        BEGIN
            v_free := taskyard.task_free(p_ids, p_change = 'purge');
            -- Undoes its locks: other writers lock a task's row behind its row in a range.
            RAISE EXCEPTION USING ERRCODE = 'TY000';
        EXCEPTION WHEN SQLSTATE 'TY000' THEN
            NULL;
        END;
        locked := ARRAY(SELECT t.id FROM taskyard.task t WHERE t.id = ANY(p_ids) EXCEPT SELECT unnest(v_free));
        EXIT WHEN locked = '{}';
        v_ids := ARRAY(SELECT unnest(p_ids) EXCEPT SELECT unnest(locked) ORDER BY 1);
    END LOOP;
    v_until := clock_timestamp() + interval '300 ms';
    FOREACH v_id IN ARRAY v_ids LOOP
        IF clock_timestamp() > v_until THEN
            untried := untried || v_id;
            CONTINUE;
        END IF;
        BEGIN
            done := done + taskyard.task_change(p_change, ARRAY[v_id], p_now);
        EXCEPTION
            WHEN lock_not_available THEN
                locked := locked || v_id;
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                refused := refused || v_id;
                reason := p_change || ' task ' || v_id || ': ' || SQLERRM;
        END;
    END LOOP;
END
$$;

-- Notes for `queue status` that the database refuses a step of upkeep for some tasks. Written every ten seconds at most, and by one
-- transaction at a time: another one may hold the row until its caller commits.
CREATE OR REPLACE FUNCTION taskyard.upkeep_refused(p_reason text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_value text := extract(epoch FROM v_now)::bigint || ' ' || left(p_reason, 1000);
    v_noted text;
BEGIN
    IF p_reason IS NULL THEN
        RETURN;
    END IF;
    SELECT s.value INTO v_noted FROM taskyard.setting s WHERE s.name = 'upkeep_refused';
    IF NOT FOUND THEN
        INSERT INTO taskyard.setting (name, value) VALUES ('upkeep_refused', v_value) ON CONFLICT DO NOTHING;
    ELSIF split_part(v_noted, ' ', 1)::bigint < extract(epoch FROM v_now)::bigint - 10 THEN
        PERFORM FROM taskyard.setting s WHERE s.name = 'upkeep_refused' FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE taskyard.setting s SET value = v_value WHERE s.name = 'upkeep_refused';
        END IF;
    END IF;
EXCEPTION WHEN lock_not_available THEN
    NULL;
END
$$;
