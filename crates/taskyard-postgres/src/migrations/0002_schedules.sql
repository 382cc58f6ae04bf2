-- Schedules: rules that enqueue tasks at times. Any write raises `version` (sql/schedule/changed.sql), so people may
-- change rows with plain SQL; whoever planned on an older version changes nothing.
--
-- overlap: 0 skip, 1 allow, 2 queue one, 3 queue all, 4 cancel the running one. catch_up: 0 skip, 1 one, 2 all.
CREATE TABLE taskyard.schedule (
    name text COLLATE "C" PRIMARY KEY,
    rule text NOT NULL,
    zone text NOT NULL DEFAULT 'UTC',
    kind text NOT NULL,
    runtime smallint NOT NULL DEFAULT 0,
    queue text NOT NULL DEFAULT 'default',
    priority int NOT NULL DEFAULT 0,
    payload bytea NOT NULL,
    options text NOT NULL DEFAULT '{}',
    overlap smallint NOT NULL DEFAULT 0,
    catch_up smallint NOT NULL DEFAULT 1,
    catch_up_window_us bigint NOT NULL DEFAULT 86400000000,
    jitter_us bigint NOT NULL DEFAULT 0,
    starts_at timestamptz,
    ends_at timestamptz,
    runs_max bigint,
    pause_after_failures bigint,
    version bigint NOT NULL DEFAULT 1,
    planned boolean NOT NULL DEFAULT false,
    paused boolean NOT NULL DEFAULT false,
    ended boolean NOT NULL DEFAULT false,
    problem text,
    created_at timestamptz NOT NULL,
    planned_from timestamptz NOT NULL,
    next_at timestamptz,
    last_at timestamptz,
    runs bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    last_state smallint
) WITH (fillfactor = 70);
CREATE INDEX schedule_due ON taskyard.schedule (next_at)
WHERE planned AND NOT paused AND NOT ended AND problem IS NULL;
CREATE INDEX schedule_unplanned ON taskyard.schedule (name) WHERE NOT planned AND NOT paused AND problem IS NULL;

-- What became of each of their times. outcome: 0 enqueued, 1 held, 2 skipped, 3 missed. open: held, or its task has not
-- ended as far as the schedule knows.
CREATE TABLE taskyard.schedule_run (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule text COLLATE "C" NOT NULL REFERENCES taskyard.schedule (name) ON DELETE CASCADE ON UPDATE CASCADE,
    fire_at timestamptz NOT NULL,
    until timestamptz,
    count int NOT NULL DEFAULT 1,
    outcome smallint NOT NULL,
    manual boolean NOT NULL DEFAULT false,
    open boolean NOT NULL DEFAULT false,
    task_id uuid,
    state smallint,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    error_type text,
    error_message text
);
CREATE INDEX schedule_run_of ON taskyard.schedule_run (schedule, sequence);
CREATE INDEX schedule_run_open ON taskyard.schedule_run (schedule, sequence) WHERE open;
