-- Adds a task in a transaction of the caller's: `$1` is one text, so that every library can bind it. The payload travels in base64: it is
-- stored as these exact bytes, in a database of any encoding.
SELECT taskyard.enqueue_payload((c->>'id')::uuid, c->>'kind', decode(c->>'payload', 'base64'), decode(c->>'context', 'base64'),
    (c->>'runtime')::smallint, c->>'name', c->>'queue', (c->>'priority')::int, c->>'policy', (c->>'timeout_ms')::bigint,
    (c->>'after_us')::bigint, (c->>'run_at')::timestamptz, (c->>'expires_us')::bigint,
    ARRAY(SELECT json_array_elements_text(c->'parents')::uuid), (c->>'on_parent_failure')::smallint, c->>'unique_key',
    (c->>'unique_hold')::smallint, (c->>'unique_for_us')::bigint, ARRAY(SELECT json_array_elements_text(c->'tags')),
    (c->>'auto_remove')::boolean, (c->>'at_most_once')::boolean, (c->>'plain')::smallint)::text
FROM (SELECT CAST($1 AS text)::json AS c) AS call
