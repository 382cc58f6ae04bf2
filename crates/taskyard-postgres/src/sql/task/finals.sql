-- Those of these tasks that are final, with what a waiter needs.
CREATE OR REPLACE FUNCTION taskyard.task_finals(p_ids uuid[])
RETURNS TABLE (id uuid, state smallint, result bytea, error_type text, error_message text, error_traceback text)
LANGUAGE plpgsql ROWS 100 SET enable_seqscan = off SET jit = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.id, t.state, CASE WHEN t.state = 4 THEN t.result END,
        CASE WHEN t.state = 5 THEN t.error_type END, CASE WHEN t.state = 5 THEN t.error_message END,
        CASE WHEN t.state = 5 THEN t.error_traceback END
    FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state BETWEEN 3 AND 6;
END
$$;

-- The same with whether the result is in the Python client's encoding. (The one above is there for older programs.)
CREATE OR REPLACE FUNCTION taskyard.task_ends(p_ids uuid[])
RETURNS TABLE (id uuid, state smallint, result bytea, error_type text, error_message text, error_traceback text,
    encoded boolean)
LANGUAGE plpgsql ROWS 100 SET enable_seqscan = off SET jit = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.id, t.state, CASE WHEN t.state = 4 THEN t.result END,
        CASE WHEN t.state = 5 THEN t.error_type END, CASE WHEN t.state = 5 THEN t.error_message END,
        CASE WHEN t.state = 5 THEN t.error_traceback END, t.runtime = 1 AND t.plain & 2 = 0
    FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state BETWEEN 3 AND 6;
END
$$;
