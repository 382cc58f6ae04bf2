-- What the documents query, in the first schema of the search path. Read-only.
CREATE OR REPLACE VIEW queued_tasks AS
SELECT t.id, coalesce(t.name, t.kind) AS name, taskyard.shown_state(t.state) AS state, t.parent_id AS parent_task,
    t.created_at AS date_enqueued, t.started_at AS date_started, t.finished_at AS date_done, t.queue, t.priority,
    t.kind, CASE t.runtime WHEN 0 THEN 'rust' ELSE 'python' END AS runtime, t.attempt, t.failures, t.lost, t.crashes,
    taskyard.shown_member(t.payload, 'args') AS args, taskyard.shown_member(t.payload, 'kwargs') AS kwargs,
    CASE WHEN t.has_context THEN
        (SELECT taskyard.shown(x.context) FROM taskyard.task_context x WHERE x.task_id = t.id) END AS context,
    taskyard.shown(t.result) AS result,
    t.error_type || coalesce(': ' || t.error_message, '') AS error, t.error_type, t.error_message, t.error_traceback,
    CASE WHEN t.state = 0 THEN (
        SELECT CASE w.reason
            WHEN 0 THEN coalesce((
                SELECT 'parent ' || taskyard.shown_state(p.state) FROM taskyard.edge e
                    JOIN taskyard.task p ON p.id = e.parent_id
                WHERE e.child_id = t.id AND e.open ORDER BY p.state = 3 DESC, e.place LIMIT 1), 'parent unfinished')
            WHEN 1 THEN 'start time ahead' WHEN 2 THEN 'backing off' WHEN 3 THEN w.parked
            ELSE 'parents being settled' END
        FROM taskyard.waiting w WHERE w.task_id = t.id) END AS waiting_for,
    t.run_at AS date_run_at, t.expires_at AS date_expires, t.server_id, t.unique_key, t.tags, t.auto_remove,
    t.at_most_once, t.fallen_from
FROM taskyard.task t;
COMMENT ON VIEW queued_tasks IS 'Taskyard';

CREATE OR REPLACE VIEW queued_task_logs AS
SELECT l.sequence AS id, l.task_id AS queued_task_id,
    CASE WHEN l.level >= 50 THEN 'critical' WHEN l.level >= 40 THEN 'error' WHEN l.level >= 30 THEN 'warning'
        WHEN l.level >= 20 THEN 'info' WHEN l.level >= 10 THEN 'debug' ELSE 'trace' END AS type,
    l.message, l.created_at AS date_created, l.logger AS name, l.attempt, taskyard.shown(l.fields) AS fields, l.traceback
FROM taskyard.task_log l;
COMMENT ON VIEW queued_task_logs IS 'Taskyard';

CREATE OR REPLACE VIEW queued_task_workers AS
SELECT s.id, s.name AS server_name, s.workers_max AS max_workers, s.workers_active AS active_workers,
    s.workers_idle AS idle_workers,
    s.dead_at IS NULL AND s.lease_until > (
        SELECT coalesce(c.frozen_at, clock_timestamp() + c.offset_us * interval '1 microsecond')
        FROM taskyard.clock c) AS is_running,
    s.last_beat_at AS last_heartbeat, s.started_at AS date_started, s.tasks_running AS running_tasks, s.version, s.pid
FROM taskyard.server s;
COMMENT ON VIEW queued_task_workers IS 'Taskyard';

CREATE OR REPLACE VIEW queued_task_attempts AS
SELECT a.task_id AS queued_task_id, a.number, a.server_id, a.started_at AS date_started, a.ended_at AS date_ended,
    (ARRAY['doing', 'done', 'failed', 'lost', 'crashed', 'snoozed', 'stopped', 'cancelled'])[a.outcome + 1] AS outcome,
    a.error_type, a.error_message, a.error_traceback
FROM taskyard.attempt a
UNION ALL
SELECT t.id, t.attempt, t.server_id, t.started_at, t.finished_at, taskyard.shown_state(t.state),
    CASE WHEN t.state = 5 THEN t.error_type END, CASE WHEN t.state = 5 THEN t.error_message END,
    CASE WHEN t.state = 5 THEN t.error_traceback END
FROM taskyard.task t
WHERE t.attempt > 0 AND t.state BETWEEN 2 AND 6 AND t.started_at IS NOT NULL AND t.fallen_from IS NULL
    AND NOT EXISTS (SELECT FROM taskyard.attempt a WHERE a.task_id = t.id AND a.number = t.attempt);
COMMENT ON VIEW queued_task_attempts IS 'Taskyard';
