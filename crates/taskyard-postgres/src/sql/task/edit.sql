-- Changes a failed, cancelled or stopped task, which stays what it is. A null leaves a part as it is; the payload is replaced
-- only where the one that was seen still stands. reply: 0 applied, 2 refused, 3 unknown, 4 another payload stands there.
CREATE OR REPLACE FUNCTION taskyard.task_edit(
    p_id uuid, p_seen bytea, p_payload bytea, p_queue text, p_priority int, p_max_retries bigint,
    p_plain boolean DEFAULT false, OUT reply smallint, OUT state smallint
) LANGUAGE plpgsql SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_task record;
BEGIN
    SELECT t.state, t.payload INTO v_task FROM taskyard.task t WHERE t.id = p_id FOR NO KEY UPDATE;
    state := coalesce(v_task.state, 0);
    reply := CASE
        WHEN v_task.state IS NULL THEN 3
        WHEN v_task.state NOT IN (3, 5, 6) THEN 2
        -- The same edit again, its answer lost, is none of somebody else's.
        WHEN p_payload IS NOT NULL AND v_task.payload IS DISTINCT FROM p_seen
            AND v_task.payload IS DISTINCT FROM p_payload THEN 4
        ELSE 0 END;
    IF reply = 0 THEN
        UPDATE taskyard.task t SET payload = coalesce(p_payload, t.payload),
            plain = CASE WHEN p_payload IS NULL THEN t.plain WHEN p_plain THEN t.plain | 1::smallint
                ELSE t.plain & ~1::smallint END, queue = coalesce(p_queue, t.queue),
            priority = coalesce(p_priority, t.priority),
            policy = CASE WHEN p_max_retries IS NULL THEN t.policy ELSE
                (coalesce(t.policy, '{}')::jsonb || jsonb_build_object('max_retries', p_max_retries))::text END
        WHERE t.id = p_id;
    END IF;
END
$$;
