-- A task's tags are a plain list of texts: one of two dimensions stopped every view.
ALTER TABLE taskyard.task ADD CONSTRAINT task_tags CHECK (array_ndims(tags) = 1 AND array_position(tags, NULL) IS NULL) NOT VALID;

-- Instants that timers compute with are finite: one that was not stopped every timer. NOT VALID: what is there already is put
-- right below, without a second look at every row.
ALTER TABLE taskyard.task ADD CONSTRAINT task_instants CHECK (isfinite(run_at) AND isfinite(expires_at)) NOT VALID;
ALTER TABLE taskyard.waiting ADD CONSTRAINT waiting_instants CHECK (isfinite(run_at)) NOT VALID;
ALTER TABLE taskyard.deadline ADD CONSTRAINT deadline_instants CHECK (isfinite(at)) NOT VALID;
ALTER TABLE taskyard.ready ADD CONSTRAINT ready_instants CHECK (isfinite(ages_at)) NOT VALID;
ALTER TABLE taskyard.queue ADD CONSTRAINT queue_instants CHECK (isfinite(rate_full_at)) NOT VALID;
ALTER TABLE taskyard.schedule ADD CONSTRAINT schedule_instants CHECK (isfinite(created_at) AND isfinite(planned_from)
    AND isfinite(next_at) AND isfinite(last_at) AND isfinite(starts_at) AND isfinite(ends_at)) NOT VALID;
ALTER TABLE taskyard.schedule_run ADD CONSTRAINT schedule_run_instants CHECK (isfinite(fire_at) AND isfinite(until)
    AND isfinite(created_at) AND isfinite(finished_at)) NOT VALID;

-- The next expiry, among however many removals.
CREATE INDEX deadline_expire ON taskyard.deadline (at) WHERE what = 0;

-- A start that never comes is shown as what it is; one before all times is past.
UPDATE taskyard.waiting SET reason = CASE WHEN run_at > now() AND reason IN (1, 2) THEN 3 ELSE reason END,
    parked = CASE WHEN run_at > now() AND reason IN (1, 2) THEN 'corrupt: its start time was infinite' ELSE parked END,
    run_at = CASE WHEN run_at < now() THEN '1970-01-01 00:00:00+00'::timestamptz END
WHERE NOT isfinite(run_at);
UPDATE taskyard.task SET run_at = CASE WHEN isfinite(run_at) THEN run_at END,
    expires_at = CASE WHEN isfinite(expires_at) THEN expires_at END,
    tags = (SELECT array_agg(u.tag) FROM unnest(tags) AS u(tag) WHERE u.tag IS NOT NULL)
WHERE NOT isfinite(run_at) OR NOT isfinite(expires_at) OR array_ndims(tags) > 1
    OR tags IS NOT NULL AND array_ndims(tags) = 1 AND array_position(tags, NULL) IS NOT NULL;
DELETE FROM taskyard.deadline WHERE NOT isfinite(at);
UPDATE taskyard.ready SET ages_at = now() WHERE NOT isfinite(ages_at);
UPDATE taskyard.queue SET rate_full_at = NULL WHERE NOT isfinite(rate_full_at);
UPDATE taskyard.schedule SET created_at = CASE WHEN isfinite(created_at) THEN created_at ELSE now() END,
    planned_from = CASE WHEN isfinite(planned_from) THEN planned_from ELSE now() END,
    starts_at = CASE WHEN isfinite(starts_at) THEN starts_at END, ends_at = CASE WHEN isfinite(ends_at) THEN ends_at END,
    next_at = NULL, last_at = CASE WHEN isfinite(last_at) THEN last_at END, planned = false
WHERE NOT (isfinite(created_at) AND isfinite(planned_from) AND isfinite(coalesce(next_at, now()))
    AND isfinite(coalesce(last_at, now())) AND isfinite(coalesce(starts_at, now())) AND isfinite(coalesce(ends_at, now())));
UPDATE taskyard.schedule_run SET fire_at = CASE WHEN isfinite(fire_at) THEN fire_at ELSE now() END,
    until = CASE WHEN isfinite(until) THEN until END,
    created_at = CASE WHEN isfinite(created_at) THEN created_at ELSE now() END,
    finished_at = CASE WHEN isfinite(finished_at) THEN finished_at END
WHERE NOT isfinite(fire_at) OR NOT isfinite(until) OR NOT isfinite(created_at) OR NOT isfinite(finished_at);
