-- Enters a server with a first lease; again with the same id after a lost reply is the same.
CREATE OR REPLACE FUNCTION taskyard.server_enter(
    p_id uuid, p_name text, p_pid bigint, p_version text, p_lease_ms bigint, p_workers_max bigint
) RETURNS void LANGUAGE plpgsql SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    INSERT INTO taskyard.server (id, name, pid, version, timeline, lease_ms, lease_until, workers_max, started_at,
        last_beat_at)
    VALUES (p_id, p_name, p_pid, p_version, taskyard.timeline(), p_lease_ms,
        v_now + p_lease_ms * interval '1 millisecond', p_workers_max, v_now, v_now)
    ON CONFLICT (id) DO NOTHING;
END
$$;

-- Notes what a server can run: for each runtime that it serves the fingerprint of its build, and its queues (null: all).
CREATE OR REPLACE FUNCTION taskyard.server_serve(p_id uuid, p_runtimes smallint[], p_fingerprints text[], p_queues text[])
RETURNS void LANGUAGE plpgsql SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := taskyard.now();
    v_builds int[] := ARRAY[NULL, NULL]::int[];
    v_build record;
    v_id int;
BEGIN
    PERFORM taskyard.kind_lock();
    FOR v_build IN SELECT u.runtime, u.fingerprint FROM unnest(p_runtimes, p_fingerprints) AS u(runtime, fingerprint) LOOP
        INSERT INTO taskyard.build AS b (runtime, fingerprint, seen_at) VALUES (v_build.runtime, v_build.fingerprint, v_now)
        ON CONFLICT (runtime, fingerprint) DO UPDATE SET seen_at = excluded.seen_at
        RETURNING b.id INTO v_id;
        v_builds[v_build.runtime + 1] := v_id;
    END LOOP;
    UPDATE taskyard.server s SET builds = v_builds, queues = p_queues WHERE s.id = p_id;
END
$$;

-- Enters a server that says what it can run.
CREATE OR REPLACE FUNCTION taskyard.server_enter_as(
    p_id uuid, p_name text, p_pid bigint, p_version text, p_lease_ms bigint, p_workers_max bigint,
    p_runtimes smallint[], p_fingerprints text[], p_queues text[]
) RETURNS void LANGUAGE plpgsql SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM taskyard.kind_lock();
    PERFORM taskyard.server_enter(p_id, p_name, p_pid, p_version, p_lease_ms, p_workers_max);
    PERFORM taskyard.server_serve(p_id, p_runtimes, p_fingerprints, p_queues);
END
$$;
