-- The distinct reasons for which tasks of a runtime are parked, and how many tasks each, of which at most 10,000 are counted. Read
-- by pages of 10,000 rows in the order of the index: thousands of reasons are one page, and of many tasks with one reason one
-- page is read. The settings: a plan that is kept was made while the table was small, and claims wait behind this.
CREATE OR REPLACE FUNCTION taskyard.waiting_parked(p_runtime smallint) RETURNS TABLE (reason text, count bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_from text := '';
    v_reasons text[];
    v_counts bigint[];
    v_seen bigint;
    v_last int;
BEGIN
    LOOP
        SELECT array_agg(g.parked ORDER BY g.parked), array_agg(g.count ORDER BY g.parked), sum(g.count)
        INTO v_reasons, v_counts, v_seen FROM (
            SELECT l.parked, count(*) AS count FROM (
                SELECT w.parked FROM taskyard.waiting w
                WHERE w.reason = 3 AND w.runtime = p_runtime AND w.parked >= v_from ORDER BY w.parked LIMIT 10000) l
            GROUP BY l.parked) g;
        EXIT WHEN v_reasons IS NULL;
        v_last := cardinality(v_reasons);
        IF v_seen < 10000 THEN
            RETURN QUERY SELECT * FROM unnest(v_reasons, v_counts);
            EXIT;
        ELSIF v_last > 1 THEN
            -- The last reason may have more: the next page begins with it.
            RETURN QUERY SELECT * FROM unnest(v_reasons[:v_last - 1], v_counts[:v_last - 1]);
            v_from := v_reasons[v_last];
        ELSE
            RETURN QUERY SELECT * FROM unnest(v_reasons, v_counts);
            SELECT w.parked INTO v_from FROM taskyard.waiting w
            WHERE w.reason = 3 AND w.runtime = p_runtime AND w.parked > v_reasons[1] ORDER BY w.parked LIMIT 1;
            EXIT WHEN NOT FOUND;
        END IF;
    END LOOP;
END
$$;
