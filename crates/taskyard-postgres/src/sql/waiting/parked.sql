-- The distinct reasons for which tasks of a runtime are parked, each found by one step through the index; their counts
-- stop at 10,000.
CREATE OR REPLACE FUNCTION taskyard.waiting_parked(p_runtime smallint) RETURNS TABLE (reason text, count bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_reason text;
BEGIN
    SELECT min(w.parked) INTO v_reason FROM taskyard.waiting w WHERE w.reason = 3 AND w.runtime = p_runtime;
    WHILE v_reason IS NOT NULL LOOP
        SELECT count(*) INTO count FROM (
            SELECT FROM taskyard.waiting w WHERE w.reason = 3 AND w.runtime = p_runtime AND w.parked = v_reason LIMIT 10000) l;
        reason := v_reason;
        RETURN NEXT;
        SELECT min(w.parked) INTO v_reason FROM taskyard.waiting w
        WHERE w.reason = 3 AND w.runtime = p_runtime AND w.parked > v_reason;
    END LOOP;
END
$$;
