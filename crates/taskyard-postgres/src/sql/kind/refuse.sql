-- Ends that say that a server does not know a task's kind (code 12): notes that its build refused the kind, and answers the codes
-- with each of those turned into a release (4) or, if every live build that serves the queue has refused the kind, parking (5).
-- The type says which build; one that no server is parks, as do kinds that are too long for an index.
CREATE OR REPLACE FUNCTION taskyard.kind_refuse(p_ids uuid[], p_tokens uuid[], p_codes smallint[], p_types text[])
RETURNS smallint[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids uuid[];
    v_builds int[];
    v_build int;
    v_step record;
    v_set int[];
    v_group int;
    v_locked boolean := false;
    v_parked uuid[];
    v_released uuid[];
BEGIN
    -- In id order, as every writer locks.
    PERFORM FROM taskyard.task t WHERE t.id = ANY(p_ids) AND t.state = 2 ORDER BY t.id FOR NO KEY UPDATE;
    SELECT array_agg(t.id), array_agg(b.id) INTO v_ids, v_builds
    FROM unnest(p_ids, p_tokens, p_codes, p_types) AS n(id, token, code, fingerprint)
        JOIN taskyard.task t ON t.id = n.id AND t.token = n.token AND t.state = 2
        JOIN taskyard.build b ON b.runtime = t.runtime AND b.fingerprint = n.fingerprint
    WHERE n.code = 12 AND octet_length(t.kind) <= 1000;
    -- Most of the time it is known already, and nothing needs the lock.
    IF EXISTS (
        SELECT FROM unnest(v_ids, v_builds) AS u(id, build) JOIN taskyard.task t ON t.id = u.id
            LEFT JOIN taskyard.kind k ON k.runtime = t.runtime AND k.kind = t.kind
            LEFT JOIN taskyard.kind_group g ON g.id = k.group_id
        WHERE u.build <> ALL(coalesce(g.builds, '{}')))
    THEN
        PERFORM taskyard.kind_lock();
        v_locked := true;
        FOR v_build IN
            -- A build that was deleted meanwhile refuses nothing.
            SELECT b.id FROM taskyard.build b WHERE b.id = ANY(v_builds) ORDER BY b.id
        LOOP
            FOR v_step IN
                SELECT t.runtime, coalesce(g.builds, '{}') AS builds, array_agg(DISTINCT t.kind) AS kinds
                FROM unnest(v_ids, v_builds) AS u(id, build) JOIN taskyard.task t ON t.id = u.id
                    LEFT JOIN taskyard.kind k ON k.runtime = t.runtime AND k.kind = t.kind
                    LEFT JOIN taskyard.kind_group g ON g.id = k.group_id
                WHERE u.build = v_build AND v_build <> ALL(coalesce(g.builds, '{}'))
                GROUP BY 1, 2
            LOOP
                v_set := ARRAY(SELECT DISTINCT u.build FROM unnest(v_step.builds || v_build) AS u(build) ORDER BY 1);
                SELECT g.id INTO v_group FROM taskyard.kind_group g
                WHERE g.runtime = v_step.runtime AND g.builds = v_set AND NOT g.draining;
                IF NOT FOUND THEN
                    INSERT INTO taskyard.kind_group (runtime, builds) VALUES (v_step.runtime, v_set) RETURNING id INTO v_group;
                END IF;
                INSERT INTO taskyard.kind (runtime, kind, group_id) SELECT v_step.runtime, u.kind, v_group
                FROM unnest(v_step.kinds) AS u(kind) ON CONFLICT (runtime, kind) DO UPDATE SET group_id = excluded.group_id;
                UPDATE taskyard.kind_walk SET version = version + 1;
            END LOOP;
        END LOOP;
    END IF;
    FOR i IN 1..2 LOOP
        SELECT array_agg(t.id) INTO v_parked
        FROM taskyard.task t JOIN taskyard.kind k ON k.runtime = t.runtime AND k.kind = t.kind
            JOIN taskyard.kind_group g ON g.id = k.group_id
        WHERE t.id = ANY(v_ids) AND NOT taskyard.kind_has_server(t.runtime, t.queue, g.builds);
        EXIT WHEN v_parked IS NULL OR v_locked;
        -- Again, with no server entering in between.
        PERFORM taskyard.kind_lock();
        v_locked := true;
    END LOOP;
    -- A key that was held until the start is taken again; what has lost it to another task waits.
    SELECT array_agg(t.id) INTO v_released FROM taskyard.task t WHERE t.id = ANY(v_ids) AND t.id <> ALL(coalesce(v_parked, '{}'))
        AND (t.unique_hold IS DISTINCT FROM 1 OR t.cancel_requested OR t.stop_requested
            OR taskyard.unique_key_retake(t.id, taskyard.now()) IS NULL);
    RETURN ARRAY(SELECT CASE WHEN n.code <> 12 THEN n.code WHEN n.id = ANY(v_released) THEN 4 ELSE 5 END::smallint
        FROM unnest(p_ids, p_codes) WITH ORDINALITY AS n(id, code, place) ORDER BY n.place);
END
$$;
