-- Enters a server with a first lease; again with the same id after a lost reply is the same.
CREATE OR REPLACE FUNCTION taskyard.server_enter(
    p_id uuid, p_name text, p_pid bigint, p_version text, p_lease_ms bigint, p_workers_max bigint
) RETURNS void LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
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
