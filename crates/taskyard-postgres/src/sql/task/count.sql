-- How many tasks a filter means. Parameters as in list.sql, without page and limit.
SELECT pg_catalog.count(*) FROM taskyard.task t
WHERE ($1::smallint[] IS NULL OR t.state = ANY($1))
    AND ($2::text IS NULL OR t.queue = $2)
    AND ($3::text IS NULL OR t.kind = $3)
    AND ($4::text IS NULL OR $4 = ANY(t.tags))
    AND ($5::timestamptz IS NULL OR t.finished_at < $5)
    AND ($6::timestamptz IS NULL OR t.finished_at >= $6)
    AND ($7::text IS NULL OR t.error_type = $7)
    AND ($8::text IS NULL OR position($8 IN t.error_message) > 0)
    AND ($9::int <> 1 OR t.id IN (SELECT d.task_id FROM taskyard.dead d))
    AND ($9::int <> 2 OR t.id IN (SELECT w.task_id FROM taskyard.waiting w))
    AND ($9::int <> 3 OR t.id IN (SELECT pg_catalog.unnest(k.task_ids) FROM taskyard.claim k))
