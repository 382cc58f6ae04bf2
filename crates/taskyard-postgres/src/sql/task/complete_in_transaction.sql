-- Ends an attempt as done in a transaction of the caller's: `$1` as in enqueue_in_transaction.sql.
SELECT taskyard.complete_in_payload((c->>'id')::uuid, (c->>'token')::uuid, decode(c->>'result', 'base64'))::text
FROM (SELECT CAST($1 AS text)::json AS c) AS call
