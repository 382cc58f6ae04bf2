-- The ids of some of the tasks that a bulk command means, in id order after $6. Parameters as in list.sql.
SELECT t.id FROM taskyard.task t
WHERE ($1::smallint[] IS NULL OR t.state = ANY($1))
    AND ($2::text IS NULL OR t.queue = $2)
    AND ($3::text IS NULL OR t.kind = $3)
    AND ($4::text IS NULL OR $4 = ANY(t.tags))
    AND ($5::timestamptz IS NULL OR t.finished_at < $5)
    AND ($9::timestamptz IS NULL OR t.finished_at >= $9)
    AND ($10::text IS NULL OR t.error_type = $10)
    AND ($11::text IS NULL OR position($11 IN t.error_message) > 0)
    AND ($6::uuid IS NULL OR t.id > $6)
    AND ($8::int <> 1 OR t.id IN (SELECT d.task_id FROM taskyard.dead d WHERE $6::uuid IS NULL OR d.task_id > $6))
    AND ($8::int <> 2 OR t.id IN (SELECT w.task_id FROM taskyard.waiting w WHERE $6::uuid IS NULL OR w.task_id > $6))
    AND ($8::int <> 3 OR t.id IN (SELECT pg_catalog.unnest(k.task_ids) FROM taskyard.claim k))
ORDER BY t.id LIMIT $7
