-- Adding from SQL, in the caller's transaction: any language or a trigger. `enqueue_payload` takes exact payload bytes and how
-- they are encoded (p_plain: 1 the payload is plain JSON, 8 the context is, 4 another role than the owner adds it); only
-- clients call it. `enqueue` (the documented one) takes json, in which type tags are data. No parent is locked: the caller's
-- transaction may stay open for long. A child is stored unsettled; the engine settles it after the commit. How large its parts
-- may be was checked by the client, by its own settings; `enqueue` has no client before it and checks by the database's.
--
-- For a role that only adds: GRANT USAGE ON SCHEMA taskyard, GRANT EXECUTE ON FUNCTION taskyard.enqueue. What such a role learns is
-- about its own tasks: parents (and with them `$result`) may only be tasks that it added, and where another role's task holds
-- the unique key the answer is null.

CREATE OR REPLACE FUNCTION taskyard.enqueue_payload(
    p_id uuid, p_kind text, p_payload bytea, p_context bytea, p_runtime smallint, p_name text, p_queue text,
    p_priority int, p_policy text, p_timeout_ms bigint, p_after_us bigint, p_run_at timestamptz, p_expires_us bigint,
    p_parents uuid[], p_on_failure smallint, p_key text, p_hold smallint, p_key_for_us bigint, p_tags text[],
    p_auto_remove boolean, p_at_most_once boolean, p_plain smallint DEFAULT 0
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_order bigint := (nextval('taskyard.batch_number') << 20) + 1;
    v_run_at timestamptz := coalesce(p_run_at, v_now + p_after_us * interval '1 microsecond');
    v_expires timestamptz := v_now + p_expires_us * interval '1 microsecond';
    v_holder uuid;
    v_parents uuid[];
    v_state smallint;
    v_lane int := 0;
    v_ageing bigint;
    v_group int;
    v_tag text;
BEGIN
    PERFORM taskyard.check_instant('run_at', v_run_at, v_now);
    PERFORM taskyard.check_instant('expires', v_expires, v_now);
    PERFORM taskyard.check_text('kind', p_kind);
    PERFORM taskyard.check_text('queue', p_queue);
    IF p_name IS NOT NULL THEN
        PERFORM taskyard.check_text('name', p_name);
    END IF;
    IF array_ndims(p_tags) > 1 THEN
        RAISE EXCEPTION 'taskyard: tags must be an array of one dimension' USING ERRCODE = '22023';
    ELSIF cardinality(p_tags) > 100 THEN
        RAISE EXCEPTION 'taskyard: tags has % entries; a task may have at most 100', cardinality(p_tags) USING ERRCODE = '22023';
    END IF;
    FOREACH v_tag IN ARRAY coalesce(p_tags, '{}') LOOP
        PERFORM taskyard.check_text('tag', v_tag);
    END LOOP;
    IF array_position(p_parents, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'taskyard: parents must not contain null' USING ERRCODE = '22023';
    ELSIF p_id = ANY(p_parents) THEN
        RAISE EXCEPTION 'taskyard: task % cannot be its own parent', p_id USING ERRCODE = '22023';
    END IF;
    IF p_key IS NOT NULL THEN
        PERFORM taskyard.check_text('unique key', p_key);
        SELECT u.task_id INTO v_holder FROM taskyard.unique_key_take(ARRAY[p_key], ARRAY[p_id], ARRAY[p_key_for_us]) u;
        IF v_holder <> p_id THEN
            RETURN v_holder;
        END IF;
    END IF;
    SELECT array_agg(d.id ORDER BY d.place) INTO v_parents FROM (
        SELECT u.id, min(u.place) AS place FROM unnest(p_parents) WITH ORDINALITY AS u(id, place) GROUP BY u.id) d;
    v_state := CASE WHEN v_parents IS NOT NULL OR v_run_at > v_now THEN 0 ELSE 1 END;
    INSERT INTO taskyard.task (id, parent_id, order_number, timeout_ms, created_at, run_at, expires_at, priority, runtime,
        state, on_parent_failure, unique_hold, has_parents, has_context, at_most_once, auto_remove, kind, name, queue,
        unique_key, policy, tags, plain, payload)
    VALUES (p_id, v_parents[1], v_order, p_timeout_ms, v_now, v_run_at, v_expires, p_priority, p_runtime, v_state,
        p_on_failure, p_hold, v_parents IS NOT NULL, p_context IS NOT NULL, p_at_most_once, p_auto_remove, p_kind, p_name,
        p_queue, p_key, p_policy, nullif(p_tags, '{}'), p_plain & 5::smallint, p_payload);
    IF v_state = 1 THEN
        SELECT q.lane, q.ageing_us INTO v_lane, v_ageing FROM taskyard.queue q
        WHERE q.name = p_queue AND q.lane <> 0 FOR KEY SHARE;
        IF EXISTS (SELECT FROM taskyard.kind) THEN
            v_group := (taskyard.kind_groups(ARRAY[p_runtime], ARRAY[p_kind]))[1];
        END IF;
        INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn, ages_at)
        VALUES (v_order, p_id, (coalesce(v_group, 0)::bigint << 32) + coalesce(v_lane, 0) + p_runtime, ~p_priority, p_queue,
            (SELECT o.turn FROM taskyard.ready_turn o), v_now + v_ageing * interval '1 microsecond');
    ELSE
        INSERT INTO taskyard.waiting (task_id, run_at, reason, runtime, queue)
        VALUES (p_id, v_run_at, CASE WHEN v_parents IS NOT NULL THEN 4 ELSE 1 END, p_runtime, p_queue);
        INSERT INTO taskyard.edge (parent_id, child_id, place, open)
        SELECT u.id, p_id, u.place - 1, true FROM unnest(v_parents) WITH ORDINALITY AS u(id, place);
    END IF;
    IF v_expires IS NOT NULL THEN
        INSERT INTO taskyard.deadline (at, task_id, what) VALUES (v_expires, p_id, 0);
    END IF;
    IF p_context IS NOT NULL THEN
        INSERT INTO taskyard.task_context (task_id, context, plain) VALUES (p_id, p_context, p_plain & 8 <> 0);
    END IF;
    PERFORM taskyard.setting_notify();
    RETURN p_id;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.enqueue(
    kind text, args json DEFAULT '[]', kwargs json DEFAULT '{}', queue text DEFAULT 'default', priority int DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, parents uuid[] DEFAULT '{}', max_retries int DEFAULT 3,
    timeout interval DEFAULT '300 s', unique_key text DEFAULT NULL, runtime text DEFAULT 'rust', name text DEFAULT NULL,
    context json DEFAULT NULL, on_parent_failure text DEFAULT 'fail', expires interval DEFAULT NULL,
    tags text[] DEFAULT NULL, auto_remove boolean DEFAULT false, at_most_once boolean DEFAULT false, id uuid DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    v_runtime smallint := CASE runtime WHEN 'rust' THEN 0 WHEN 'python' THEN 1 END;
    v_policy smallint := CASE on_parent_failure WHEN 'fail' THEN 0 WHEN 'run' THEN 1 WHEN 'wait' THEN 2 END;
    v_payload bytea := convert_to('{"args":' || coalesce(args, '[]')::text || ',"kwargs":' || coalesce(kwargs, '{}')::text || '}',
        'UTF8');
    -- Whoever called: this function runs as its owner.
    v_caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    v_only_adds boolean := NOT has_table_privilege(v_caller, 'taskyard.task', 'SELECT');
    v_id uuid := coalesce(id, taskyard.uuid7());
    v_stored uuid;
BEGIN
    IF v_runtime IS NULL THEN
        RAISE EXCEPTION 'taskyard: runtime is `%`; it must be `rust` or `python`', runtime USING ERRCODE = '22023';
    ELSIF v_policy IS NULL THEN
        RAISE EXCEPTION 'taskyard: on_parent_failure is `%`; it must be `fail`, `run` or `wait`', on_parent_failure
            USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(args, '[]')) <> 'array' THEN
        RAISE EXCEPTION 'taskyard: args must be a JSON array' USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(kwargs, '{}')) <> 'object' THEN
        RAISE EXCEPTION 'taskyard: kwargs must be a JSON object' USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(context, '{}')) <> 'object' THEN
        RAISE EXCEPTION 'taskyard: context must be a JSON object' USING ERRCODE = '22023';
    ELSIF max_retries < 0 THEN
        RAISE EXCEPTION 'taskyard: max_retries must not be negative' USING ERRCODE = '22023';
    ELSIF delay IS NOT NULL AND run_at IS NOT NULL THEN
        RAISE EXCEPTION 'taskyard: delay and run_at exclude each other' USING ERRCODE = '22023';
    END IF;
    PERFORM taskyard.check_name(w.what, w.name) FROM (VALUES ('kind', kind), ('queue', coalesce(queue, 'default')),
        ('name', name), ('unique key', unique_key)) AS w(what, name) WHERE w.name IS NOT NULL OR w.what = 'kind';
    PERFORM taskyard.check_name('tag', w.tag) FROM unnest(tags) AS w(tag);
    PERFORM taskyard.check_nesting('args are', args);
    PERFORM taskyard.check_nesting('kwargs are', kwargs);
    PERFORM taskyard.check_nesting('context is', context);
    PERFORM taskyard.check_size('the arguments take', octet_length(v_payload), 'arguments_bytes_max');
    PERFORM taskyard.check_size('the context takes', octet_length(convert_to(context::text, 'UTF8')), 'context_bytes_max');
    IF v_only_adds AND EXISTS (SELECT FROM unnest(parents) AS p(id) WHERE NOT EXISTS (
            SELECT FROM taskyard.task t WHERE t.id = p.id AND t.added_by = v_caller)) THEN
        RAISE EXCEPTION 'taskyard: the role % may only name parents that it added itself', v_caller USING ERRCODE = '42501';
    END IF;
    v_stored := taskyard.enqueue_payload(
        v_id, kind,
        v_payload, convert_to(context::text, 'UTF8'), v_runtime, name, coalesce(queue, 'default'), coalesce(priority, 0),
        CASE WHEN max_retries <> 3 THEN '{"max_retries":' || max_retries || '}' END,
        nullif((taskyard.interval_micros('timeout', timeout) + 999) / 1000, 0),
        taskyard.interval_micros('delay', CASE WHEN extract(epoch FROM delay) < 0 THEN interval '0 s' ELSE delay END), run_at,
        taskyard.interval_micros('expires', CASE WHEN extract(epoch FROM expires) < 0 THEN interval '0 s' ELSE expires END),
        parents, v_policy, unique_key,
        CASE WHEN unique_key IS NOT NULL THEN 0::smallint END, NULL, tags, coalesce(auto_remove, false),
        coalesce(at_most_once, false),
        (9 + CASE WHEN pg_has_role(v_caller, current_user, 'MEMBER') THEN 0 ELSE 4 END)::smallint);
    IF v_only_adds AND v_stored = v_id THEN
        UPDATE taskyard.task t SET added_by = v_caller WHERE t.id = v_id;
    ELSIF v_only_adds AND NOT EXISTS (SELECT FROM taskyard.task t WHERE t.id = v_stored AND t.added_by = v_caller) THEN
        -- Another role's task holds the key: it is not for this one to know.
        RETURN NULL;
    END IF;
    RETURN v_stored;
END
$$;
