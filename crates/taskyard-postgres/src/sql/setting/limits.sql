-- The limits of what SQL's own doors take: those of the settings of the server that was started last, the defaults until then.
-- (Clients check by their own settings before they call `enqueue_payload`.)
CREATE OR REPLACE FUNCTION taskyard.limit_of(p_name text) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT s.value::int FROM taskyard.setting s WHERE s.name = p_name AND s.value ~ '^[0-9]{1,9}$'),
        CASE p_name WHEN 'arguments_bytes_max' THEN 1048576 WHEN 'result_bytes_max' THEN 1048576
            WHEN 'context_bytes_max' THEN 262144 WHEN 'name_bytes_max' THEN 255 WHEN 'nesting_max' THEN 64 END)
$$;

CREATE OR REPLACE FUNCTION taskyard.limits_set(p_names text[], p_values text[]) RETURNS void LANGUAGE sql
SET lock_timeout = '1s' SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO taskyard.setting AS s (name, value) SELECT * FROM unnest(p_names, p_values)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE s.value <> excluded.value
$$;

CREATE OR REPLACE FUNCTION taskyard.check_size(p_what text, p_size int, p_limit text) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_size > taskyard.limit_of(p_limit) THEN
        RAISE EXCEPTION 'taskyard: % % bytes, over the limit of % (setting %)', p_what, p_size, taskyard.limit_of(p_limit),
            p_limit USING ERRCODE = '22023';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.check_nesting(p_what text, p_json json) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_max int := taskyard.limit_of('nesting_max');
BEGIN
    IF taskyard.json_levels(p_json, v_max) > v_max THEN
        RAISE EXCEPTION 'taskyard: % nested deeper than % levels (setting nesting_max)', p_what, v_max USING ERRCODE = '22023';
    END IF;
END
$$;

-- A name that is not empty and has no control character; how long it may be is its door's to say.
CREATE OR REPLACE FUNCTION taskyard.check_text(p_what text, p_name text) RETURNS void LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_name IS NULL OR p_name = '' THEN
        RAISE EXCEPTION 'taskyard: % must not be empty', p_what USING ERRCODE = '22023';
    ELSIF p_name ~ E'[\\u0001-\\u001f\\u007f-\\u009f]' THEN
        RAISE EXCEPTION 'taskyard: % must not contain control characters', p_what USING ERRCODE = '22023';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.check_name(p_what text, p_name text) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM taskyard.check_text(p_what, p_name);
    PERFORM taskyard.check_size(p_what || ' takes', octet_length(convert_to(p_name, 'UTF8')), 'name_bytes_max');
END
$$;

-- Levels of nested lists and maps, counted up to one more than p_max: without its strings, JSON is a tree of brackets; each round
-- takes off the leaves.
CREATE OR REPLACE FUNCTION taskyard.json_levels(p_json json, p_max int) RETURNS int LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_left text := translate(regexp_replace(regexp_replace(p_json::text, E'"(\\\\.|[^"\\\\])*"', '', 'g'), '[^][{}]', '', 'g'),
        '{}', '[]');
    v_depth int := 0;
BEGIN
    WHILE v_left <> '' AND v_depth <= p_max LOOP
        v_left := replace(v_left, '[]', '');
        v_depth := v_depth + 1;
    END LOOP;
    RETURN v_depth;
END
$$;
