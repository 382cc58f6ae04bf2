-- Renews a lease and answers the requests for what the server runs. No row at all: it was declared dead, or a standby
-- took over that may have missed its last writes: what the one holds for it and it has ended would be held for ever.
-- The first row is the beat itself (task_id null).
CREATE OR REPLACE FUNCTION taskyard.server_beat(
    p_id uuid, p_lease_ms bigint, p_workers_max bigint, p_active bigint, p_idle bigint, p_running bigint
) RETURNS TABLE (task_id uuid, token uuid, cancel boolean) LANGUAGE plpgsql SET lock_timeout = '1s'
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    UPDATE taskyard.server s SET beat = s.beat + 1, lease_until = v_now + p_lease_ms * interval '1 millisecond',
        lease_ms = p_lease_ms, last_beat_at = v_now, workers_max = p_workers_max, workers_active = p_active,
        workers_idle = p_idle, tasks_running = p_running
    WHERE s.id = p_id AND s.dead_at IS NULL AND s.timeline = taskyard.timeline();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN NEXT;
    RETURN QUERY SELECT s.task_id, s.token, s.cancel FROM taskyard.signal s WHERE s.server_id = p_id ORDER BY s.task_id;
END
$$;
