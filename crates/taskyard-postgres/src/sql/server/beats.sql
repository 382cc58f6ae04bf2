-- Servers that a rescue must watch: those not declared dead, and dead ones whose tasks are still being freed.
SELECT s.id, s.beat, s.lease_until <= n.now, s.dead_at IS NOT NULL, s.lease_ms
FROM taskyard.server s CROSS JOIN (SELECT taskyard.now() AS now) n
WHERE s.dead_at IS NULL OR EXISTS (SELECT FROM taskyard.claim k WHERE k.server_id = s.id)
ORDER BY s.id
