-- Adding from SQL, in the caller's transaction: any language or a trigger. `enqueue_payload` takes exact payload bytes,
-- `enqueue` (the documented one) json. No parent is locked: the caller's transaction may stay open for long. A child is
-- stored unsettled; the engine settles it after the commit.
--
-- For a role that only adds: GRANT USAGE ON SCHEMA taskyard, GRANT EXECUTE ON FUNCTION taskyard.enqueue.

CREATE OR REPLACE FUNCTION taskyard.check_name(p_what text, p_name text) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_name IS NULL OR p_name = '' THEN
        RAISE EXCEPTION 'taskyard: % is empty', p_what USING ERRCODE = '22023';
    ELSIF octet_length(convert_to(p_name, 'UTF8')) > 255 THEN
        RAISE EXCEPTION 'taskyard: % takes % bytes, over the limit of 255', p_what,
            octet_length(convert_to(p_name, 'UTF8')) USING ERRCODE = '22023';
    ELSIF p_name ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        RAISE EXCEPTION 'taskyard: % contains a control character', p_what USING ERRCODE = '22023';
    END IF;
END
$$;

-- Levels of nested lists and maps: without its strings, JSON is a tree of brackets; each round takes off the leaves.
CREATE OR REPLACE FUNCTION taskyard.json_depth(p_json json) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_left text := translate(regexp_replace(regexp_replace(p_json::text, '"(\\.|[^"\\])*"', '', 'g'), '[^][{}]', '', 'g'),
        '{}', '[]');
    v_depth int := 0;
BEGIN
    WHILE v_left <> '' AND v_depth <= 64 LOOP
        v_left := replace(v_left, '[]', '');
        v_depth := v_depth + 1;
    END LOOP;
    RETURN v_depth;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.enqueue_payload(
    p_id uuid, p_kind text, p_payload bytea, p_context bytea, p_runtime smallint, p_name text, p_queue text,
    p_priority int, p_policy text, p_timeout_ms bigint, p_after_us bigint, p_run_at timestamptz, p_expires_us bigint,
    p_parents uuid[], p_on_failure smallint, p_key text, p_hold smallint, p_key_for_us bigint, p_tags text[],
    p_auto_remove boolean, p_at_most_once boolean
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER
SET search_path = taskyard, pg_temp SET enable_seqscan = off SET jit = off AS $$
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
    v_tag text;
BEGIN
    PERFORM taskyard.check_instant('run_at', v_run_at, v_now);
    PERFORM taskyard.check_instant('expires', v_expires, v_now);
    PERFORM taskyard.check_name('kind', p_kind);
    PERFORM taskyard.check_name('queue', p_queue);
    IF p_name IS NOT NULL THEN
        PERFORM taskyard.check_name('name', p_name);
    END IF;
    IF array_ndims(p_tags) > 1 THEN
        RAISE EXCEPTION 'taskyard: tags is a list of lists; give a plain list of texts' USING ERRCODE = '22023';
    END IF;
    FOREACH v_tag IN ARRAY coalesce(p_tags, '{}') LOOP
        PERFORM taskyard.check_name('tag', v_tag);
    END LOOP;
    IF octet_length(p_payload) > 1048576 THEN
        RAISE EXCEPTION 'taskyard: the arguments take % bytes, over the limit of 1048576', octet_length(p_payload)
            USING ERRCODE = '22023';
    ELSIF octet_length(p_context) > 262144 THEN
        RAISE EXCEPTION 'taskyard: the context takes % bytes, over the limit of 262144', octet_length(p_context)
            USING ERRCODE = '22023';
    ELSIF array_position(p_parents, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'taskyard: a parent is null' USING ERRCODE = '22023';
    ELSIF p_id = ANY(p_parents) THEN
        RAISE EXCEPTION 'taskyard: task % names itself as its parent', p_id USING ERRCODE = '22023';
    END IF;
    IF p_key IS NOT NULL THEN
        PERFORM taskyard.check_name('unique key', p_key);
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
        unique_key, policy, tags, payload)
    VALUES (p_id, v_parents[1], v_order, p_timeout_ms, v_now, v_run_at, v_expires, p_priority, p_runtime, v_state,
        p_on_failure, p_hold, v_parents IS NOT NULL, p_context IS NOT NULL, p_at_most_once, p_auto_remove, p_kind, p_name,
        p_queue, p_key, p_policy, nullif(p_tags, '{}'), p_payload);
    IF v_state = 1 THEN
        SELECT q.lane, q.ageing_us INTO v_lane, v_ageing FROM taskyard.queue q
        WHERE q.name = p_queue AND q.lane <> 0 FOR KEY SHARE;
        INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn, ages_at)
        VALUES (v_order, p_id, coalesce(v_lane, 0) + p_runtime, ~p_priority, p_queue,
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
        INSERT INTO taskyard.task_context (task_id, context) VALUES (p_id, p_context);
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
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = taskyard, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    v_runtime smallint := CASE runtime WHEN 'rust' THEN 0 WHEN 'python' THEN 1 END;
    v_policy smallint := CASE on_parent_failure WHEN 'fail' THEN 0 WHEN 'run' THEN 1 WHEN 'wait' THEN 2 END;
BEGIN
    IF v_runtime IS NULL THEN
        RAISE EXCEPTION 'taskyard: runtime is `%`, neither rust nor python', runtime USING ERRCODE = '22023';
    ELSIF v_policy IS NULL THEN
        RAISE EXCEPTION 'taskyard: on_parent_failure is `%`, none of fail, run, wait', on_parent_failure
            USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(args, '[]')) <> 'array' THEN
        RAISE EXCEPTION 'taskyard: args is no JSON list' USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(kwargs, '{}')) <> 'object' THEN
        RAISE EXCEPTION 'taskyard: kwargs is no JSON object' USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(context, '{}')) <> 'object' THEN
        RAISE EXCEPTION 'taskyard: context is no JSON object' USING ERRCODE = '22023';
    ELSIF greatest(taskyard.json_depth(args), taskyard.json_depth(kwargs), taskyard.json_depth(context)) > 64 THEN
        RAISE EXCEPTION 'taskyard: args, kwargs or context are nested deeper than 64 levels' USING ERRCODE = '22023';
    ELSIF max_retries < 0 THEN
        RAISE EXCEPTION 'taskyard: max_retries is negative' USING ERRCODE = '22023';
    ELSIF delay IS NOT NULL AND run_at IS NOT NULL THEN
        RAISE EXCEPTION 'taskyard: give delay or run_at, not both' USING ERRCODE = '22023';
    END IF;
    RETURN taskyard.enqueue_payload(
        coalesce(id, taskyard.uuid7()), kind,
        convert_to('{"args":' || coalesce(args, '[]')::text || ',"kwargs":' || coalesce(kwargs, '{}')::text || '}', 'UTF8'),
        convert_to(context::text, 'UTF8'), v_runtime, name, coalesce(queue, 'default'), coalesce(priority, 0),
        CASE WHEN max_retries <> 3 THEN '{"max_retries":' || max_retries || '}' END,
        nullif(taskyard.interval_micros('timeout', timeout) / 1000, 0),
        taskyard.interval_micros('delay', CASE WHEN delay < interval '0 s' THEN interval '0 s' ELSE delay END), run_at,
        taskyard.interval_micros('expires', CASE WHEN expires < interval '0 s' THEN interval '0 s' ELSE expires END), parents, v_policy, unique_key,
        CASE WHEN unique_key IS NOT NULL THEN 0::smallint END, NULL, tags, coalesce(auto_remove, false),
        coalesce(at_most_once, false));
END
$$;
