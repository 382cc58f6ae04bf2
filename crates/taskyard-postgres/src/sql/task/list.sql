-- The ids of one page of tasks, newest first. $1 states, $2 queue, $3 kind, $4 tag, $5 finished before, $6 below this id,
-- $7 at most this many, $8 1 = all of them are in dead, 2 = in waiting, 3 = in claims, 0 = anywhere, $9 finished then or
-- later, $10 the error's type, $11 a text in its message.
SELECT t.id FROM taskyard.task t
WHERE ($1::smallint[] IS NULL OR t.state = ANY($1))
    AND ($2::text IS NULL OR t.queue = $2)
    AND ($3::text IS NULL OR t.kind = $3)
    AND ($4::text IS NULL OR $4 = ANY(t.tags))
    AND ($5::timestamptz IS NULL OR t.finished_at < $5)
    AND ($9::timestamptz IS NULL OR t.finished_at >= $9)
    AND ($10::text IS NULL OR t.error_type = $10)
    AND ($11::text IS NULL OR position($11 IN t.error_message) > 0)
    AND ($6::uuid IS NULL OR t.id < $6)
    AND ($8::int <> 1 OR t.id IN (SELECT d.task_id FROM taskyard.dead d WHERE $6::uuid IS NULL OR d.task_id < $6))
    AND ($8::int <> 2 OR t.id IN (SELECT w.task_id FROM taskyard.waiting w WHERE $6::uuid IS NULL OR w.task_id < $6))
    AND ($8::int <> 3 OR t.id IN (SELECT pg_catalog.unnest(k.task_ids) FROM taskyard.claim k))
ORDER BY t.id DESC LIMIT $7
