-- Writes context and logs of running attempts. The fence is a lock on the task's row, so that a rescue or a finish comes
-- entirely before or entirely after. One row per item: reply 0 applied, 1 the attempt had ended, 2 lost.
CREATE OR REPLACE FUNCTION taskyard.task_record(
    p_ids uuid[], p_tokens uuid[], p_contexts bytea[], p_log_ids uuid[], p_log_tokens uuid[], p_log_levels smallint[],
    p_log_loggers text[], p_log_messages text[], p_log_fields bytea[], p_log_traces text[]
) RETURNS TABLE (place int, reply smallint, state smallint) LANGUAGE plpgsql ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := taskyard.now();
BEGIN
    PERFORM FROM unnest(p_ids, p_tokens) AS n(id, token)
        JOIN taskyard.task t ON t.id = n.id AND t.token = n.token AND t.state = 2
    ORDER BY t.id FOR NO KEY UPDATE OF t;
    IF p_contexts IS NOT NULL THEN
        -- The last one wins if a task stands twice in the batch.
        WITH n AS MATERIALIZED (
            SELECT DISTINCT ON (n.id) n.id, n.context, t.has_context
            FROM unnest(p_ids, p_tokens, p_contexts) WITH ORDINALITY AS n(id, token, context, place)
                JOIN taskyard.task t ON t.id = n.id AND t.token = n.token AND t.state = 2
            WHERE n.context IS NOT NULL ORDER BY n.id, n.place DESC
        ), u AS (
            UPDATE taskyard.task t SET has_context = true FROM n WHERE t.id = n.id AND NOT n.has_context
        )
        -- A body's own context is in its language's encoding, whatever the first one was.
        INSERT INTO taskyard.task_context (task_id, context) SELECT n.id, n.context FROM n
        ON CONFLICT (task_id) DO UPDATE SET context = excluded.context, plain = false;
    END IF;
    IF p_log_ids IS NOT NULL THEN
        INSERT INTO taskyard.task_log (task_id, created_at, attempt, level, logger, message, fields, traceback)
        SELECT t.id, v_now, t.attempt, l.level, l.logger, l.message, l.fields, l.trace
        FROM unnest(p_log_ids, p_log_tokens, p_log_levels, p_log_loggers, p_log_messages, p_log_fields, p_log_traces)
                WITH ORDINALITY AS l(id, token, level, logger, message, fields, trace, place)
            JOIN taskyard.task t ON t.id = l.id AND t.token = l.token AND t.state = 2
        ORDER BY l.place;
    END IF;
    RETURN QUERY SELECT n.place::int,
        CASE WHEN t.token = n.token THEN CASE WHEN t.state = 2 THEN 0 ELSE 1 END ELSE 2 END::smallint,
        coalesce(t.state, 0::smallint)
    FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS n(id, token, place) LEFT JOIN taskyard.task t ON t.id = n.id;
END
$$;
