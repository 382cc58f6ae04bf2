-- Stored bytes as json for people: what is no JSON that PostgreSQL can show (a \u0000 in a member, bytes that are not
-- UTF-8, a hand-edited row) becomes a string, never an error.
CREATE OR REPLACE FUNCTION taskyard.shown(p_bytes bytea) RETURNS json LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN convert_from(p_bytes, 'UTF8')::json;
EXCEPTION WHEN OTHERS THEN
    RETURN to_json(encode(p_bytes, 'escape'));
END
$$;

-- One member of a stored JSON object.
CREATE OR REPLACE FUNCTION taskyard.shown_member(p_bytes bytea, p_name text) RETURNS json LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (convert_from(p_bytes, 'UTF8')::json) -> p_name;
EXCEPTION WHEN OTHERS THEN
    RETURN to_json(encode(p_bytes, 'escape'));
END
$$;

CREATE OR REPLACE FUNCTION taskyard.shown_state(p_state smallint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        (ARRAY['waiting', 'enqueued', 'doing', 'stopped', 'done', 'failed', 'cancelled'])[p_state + 1],
        'unknown ' || p_state::text)
$$;
GRANT EXECUTE ON FUNCTION taskyard.shown(bytea), taskyard.shown_member(bytea, text), taskyard.shown_state(smallint)
    TO PUBLIC;
