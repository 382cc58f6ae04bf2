-- Queues that have a row or tasks that are not finished, with their figures.
WITH n AS (SELECT taskyard.now() AS now),
e AS (SELECT r.queue, pg_catalog.count(*) AS enqueued, pg_catalog.min(r.order_number) AS first FROM taskyard.ready r GROUP BY r.queue),
w AS (SELECT w.queue, pg_catalog.count(*) AS waiting FROM taskyard.waiting w GROUP BY w.queue),
d AS (
    SELECT t.queue, pg_catalog.count(*) AS doing FROM (
        -- What is set aside is in no claim any more once its server has closed it.
        SELECT i.id FROM taskyard.claim k CROSS JOIN pg_catalog.unnest(k.task_ids) AS i(id)
        UNION SELECT a.task_id FROM taskyard.end_aside a) i
        JOIN taskyard.task t ON t.id = i.id AND t.state = 2
    GROUP BY t.queue
),
o AS (
    SELECT r.queue, pg_catalog.min(t.created_at) AS created_at
    FROM e JOIN taskyard.ready r ON r.queue = e.queue AND r.order_number = e.first
        JOIN taskyard.task t ON t.id = r.task_id
    GROUP BY r.queue
),
a AS (
    SELECT q.name FROM taskyard.queue q UNION SELECT e.queue FROM e UNION SELECT w.queue FROM w UNION SELECT d.queue FROM d
)
SELECT a.name, coalesce(q.paused, false), q.running_max, coalesce(e.enqueued, 0), coalesce(w.waiting, 0),
    coalesce(d.doing, 0),
    -- greatest() passes over a null.
    CASE WHEN o.created_at IS NOT NULL
        THEN taskyard.micros_until(n.now, greatest(o.created_at, n.now - interval '36525 days')) END,
    q.ageing_us, q.rate_count, q.rate_us
FROM n CROSS JOIN a LEFT JOIN taskyard.queue q ON q.name = a.name LEFT JOIN e ON e.queue = a.name
    LEFT JOIN w ON w.queue = a.name LEFT JOIN d ON d.queue = a.name LEFT JOIN o ON o.queue = a.name
ORDER BY a.name
