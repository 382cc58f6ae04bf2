-- Schedules from SQL: the same as from code and from the command. The rule is read by the first server that sees the
-- row; one that it cannot read stands in `problem` then, and the schedule is left alone until its row changes.
CREATE OR REPLACE FUNCTION taskyard.schedule_add(
    name text, rule text, kind text, args json DEFAULT '[]', kwargs json DEFAULT '{}', zone text DEFAULT 'UTC',
    queue text DEFAULT 'default', priority int DEFAULT 0, overlap text DEFAULT 'skip', catch_up text DEFAULT 'one',
    catch_up_window interval DEFAULT '1 day', jitter interval DEFAULT '0 s', starts_at timestamptz DEFAULT NULL,
    ends_at timestamptz DEFAULT NULL, runs_max int DEFAULT NULL, pause_after_failures int DEFAULT NULL,
    max_retries int DEFAULT 3, timeout interval DEFAULT '300 s', runtime text DEFAULT 'rust',
    on_conflict text DEFAULT 'replace'
) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    v_runtime smallint := array_position(ARRAY['rust', 'python'], runtime) - 1;
    v_overlap smallint := array_position(ARRAY['skip', 'allow', 'queue_one', 'queue_all', 'cancel_running'], overlap) - 1;
    v_catch_up smallint := array_position(ARRAY['skip', 'one', 'all'], catch_up) - 1;
    v_conflict int := array_position(ARRAY['refuse', 'keep', 'replace'], on_conflict) - 1;
    v_put int;
BEGIN
    PERFORM taskyard.check_name('schedule', name);
    PERFORM taskyard.check_name('kind', kind);
    PERFORM taskyard.check_name('queue', queue);
    IF v_runtime IS NULL THEN
        RAISE EXCEPTION 'taskyard: runtime is `%`; it must be `rust` or `python`', runtime USING ERRCODE = '22023';
    ELSIF v_overlap IS NULL THEN
        RAISE EXCEPTION 'taskyard: overlap is `%`; it must be `skip`, `allow`, `queue_one`, `queue_all` or `cancel_running`',
            overlap USING ERRCODE = '22023';
    ELSIF v_catch_up IS NULL THEN
        RAISE EXCEPTION 'taskyard: catch_up is `%`; it must be `skip`, `one` or `all`', catch_up USING ERRCODE = '22023';
    ELSIF v_conflict IS NULL THEN
        RAISE EXCEPTION 'taskyard: on_conflict is `%`; it must be `refuse`, `keep` or `replace`', on_conflict
            USING ERRCODE = '22023';
    ELSIF coalesce(rule, '') = '' THEN
        RAISE EXCEPTION 'taskyard: rule must not be empty' USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(args, '[]')) <> 'array' THEN
        RAISE EXCEPTION 'taskyard: args must be a JSON array' USING ERRCODE = '22023';
    ELSIF json_typeof(coalesce(kwargs, '{}')) <> 'object' THEN
        RAISE EXCEPTION 'taskyard: kwargs must be a JSON object' USING ERRCODE = '22023';
    ELSIF max_retries < 0 THEN
        RAISE EXCEPTION 'taskyard: max_retries must not be negative' USING ERRCODE = '22023';
    ELSIF runs_max < 1 THEN
        RAISE EXCEPTION 'taskyard: runs_max must be at least 1' USING ERRCODE = '22023';
    ELSIF pause_after_failures < 1 THEN
        RAISE EXCEPTION 'taskyard: pause_after_failures must be at least 1' USING ERRCODE = '22023';
    END IF;
    PERFORM taskyard.check_instant('starts_at', starts_at, taskyard.now());
    PERFORM taskyard.check_instant('ends_at', ends_at, taskyard.now());
    PERFORM taskyard.check_nesting('args are', args);
    PERFORM taskyard.check_nesting('kwargs are', kwargs);
    PERFORM taskyard.check_size('the arguments take', octet_length(convert_to('{"args":' || coalesce(args, '[]')::text
        || ',"kwargs":' || coalesce(kwargs, '{}')::text || '}', 'UTF8')), 'arguments_bytes_max');
    v_put := taskyard.schedule_put(name, rule, zone, kind, v_runtime, queue, priority,
        convert_to('{"args":' || coalesce(args, '[]')::text || ',"kwargs":' || coalesce(kwargs, '{}')::text || '}', 'UTF8'),
        json_build_object('retry', CASE WHEN max_retries <> 3 THEN json_build_object('max_retries', max_retries) END,
            'timeout_ms', nullif((taskyard.interval_micros('timeout', timeout) + 999) / 1000, 0))::text,
        v_overlap, v_catch_up, taskyard.interval_micros('catch_up_window', catch_up_window),
        taskyard.interval_micros('jitter', jitter), starts_at, ends_at, runs_max, pause_after_failures, v_conflict,
        9::smallint);
    IF v_put < 0 THEN
        RAISE EXCEPTION 'taskyard: a schedule with the name `%` exists already', name USING ERRCODE = '23505';
    END IF;
    RETURN (ARRAY['added', 'kept', 'replaced'])[v_put + 1];
END
$$;

-- Runs a schedule's task now, whatever its rule says and whatever runs; the id of the task.
CREATE OR REPLACE FUNCTION taskyard.schedule_run_now(name text) RETURNS uuid LANGUAGE plpgsql
SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    v_now timestamptz := taskyard.now();
    v_options json;
    v_context jsonb;
    v_task uuid;
    s taskyard.schedule;
BEGIN
    SELECT * INTO s FROM taskyard.schedule o WHERE o.name = schedule_run_now.name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'taskyard: there is no schedule `%`', name USING ERRCODE = '22023';
    END IF;
    v_options := s.options::json;
    -- By their text, for a null of JSON is none of ours.
    v_context := coalesce((v_options ->> 'context')::jsonb, '{}') || jsonb_build_object('schedule', jsonb_build_object(
        'name', s.name, 'fire_at', to_char(v_now AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')));
    v_task := taskyard.enqueue_payload(taskyard.uuid7(), s.kind, s.payload, convert_to(v_context::text, 'UTF8'), s.runtime,
        v_options ->> 'name', s.queue, s.priority, v_options ->> 'retry', (v_options ->> 'timeout_ms')::bigint, NULL,
        NULL, (v_options ->> 'expires_ms')::bigint * 1000, '{}', 0::smallint, NULL, NULL, NULL,
        ARRAY(SELECT json_array_elements_text(coalesce((v_options ->> 'tags')::json, '[]'))),
        coalesce((v_options ->> 'auto_remove')::boolean, false), coalesce((v_options ->> 'at_most_once')::boolean, false), s.plain);
    UPDATE taskyard.schedule o SET runs = o.runs + 1 WHERE o.name = s.name;
    INSERT INTO taskyard.schedule_run (schedule, fire_at, outcome, manual, open, task_id, created_at)
    VALUES (s.name, v_now, 0, true, true, v_task, v_now);
    RETURN v_task;
END
$$;
