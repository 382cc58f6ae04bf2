-- Stores a schedule. p_conflict: 0 refuse, 1 keep, 2 replace. Answers 0 added, 1 kept, 2 replaced, -1 refused.
CREATE OR REPLACE FUNCTION taskyard.schedule_put(
    p_name text, p_rule text, p_zone text, p_kind text, p_runtime smallint, p_queue text, p_priority int, p_payload bytea,
    p_options text, p_overlap smallint, p_catch_up smallint, p_catch_up_window_us bigint, p_jitter_us bigint,
    p_starts_at timestamptz, p_ends_at timestamptz, p_runs_max bigint, p_pause_after_failures bigint, p_conflict int,
    p_plain smallint DEFAULT 0
) RETURNS int LANGUAGE plpgsql SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    LOOP
    INSERT INTO taskyard.schedule (name, rule, zone, kind, runtime, queue, priority, payload, options, overlap, catch_up,
        catch_up_window_us, jitter_us, starts_at, ends_at, runs_max, pause_after_failures, plain, created_at, planned_from)
    VALUES (p_name, p_rule, p_zone, p_kind, p_runtime, p_queue, p_priority, p_payload, p_options, p_overlap, p_catch_up,
        p_catch_up_window_us, p_jitter_us, p_starts_at, p_ends_at, p_runs_max, p_pause_after_failures, p_plain, v_now, v_now)
    ON CONFLICT (name) DO NOTHING;
    IF FOUND THEN
        RETURN 0;
    ELSIF p_conflict <> 2 THEN
        RETURN p_conflict * 2 - 1;
    END IF;
    UPDATE taskyard.schedule s SET rule = p_rule, zone = p_zone, kind = p_kind, runtime = p_runtime, queue = p_queue,
        priority = p_priority, payload = p_payload, options = p_options, overlap = p_overlap, catch_up = p_catch_up,
        catch_up_window_us = p_catch_up_window_us, jitter_us = p_jitter_us, starts_at = p_starts_at, ends_at = p_ends_at,
        runs_max = p_runs_max, pause_after_failures = p_pause_after_failures, plain = p_plain
    WHERE s.name = p_name AND (s.rule, s.zone, s.kind, s.runtime, s.queue, s.priority, s.payload, s.options, s.overlap,
            s.catch_up, s.catch_up_window_us, s.jitter_us, s.starts_at, s.ends_at, s.runs_max, s.pause_after_failures, s.plain)
        IS DISTINCT FROM (p_rule, p_zone, p_kind, p_runtime, p_queue, p_priority, p_payload, p_options, p_overlap,
            p_catch_up, p_catch_up_window_us, p_jitter_us, p_starts_at, p_ends_at, p_runs_max, p_pause_after_failures, p_plain);
    IF FOUND THEN
        RETURN 2;
    ELSIF EXISTS (SELECT FROM taskyard.schedule s WHERE s.name = p_name) THEN
        RETURN 1;
    END IF;
    -- Removed in between: it is a new one.
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.schedule_pause(name text, paused boolean DEFAULT true) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    UPDATE taskyard.schedule s SET paused = schedule_pause.paused WHERE s.name = schedule_pause.name;
    RETURN FOUND;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.schedule_resume(name text) RETURNS boolean LANGUAGE sql
SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
    SELECT taskyard.schedule_pause(schedule_resume.name, false)
$$;

-- With its history; its tasks stay.
CREATE OR REPLACE FUNCTION taskyard.schedule_remove(name text) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM taskyard.schedule s WHERE s.name = schedule_remove.name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM taskyard.schedule_run r WHERE r.schedule = schedule_remove.name;
    RETURN true;
END
$$;
