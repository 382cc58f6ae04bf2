-- Ends of attempts that the rows of their tasks do not take: each with its token and what the database said of it. The codes
-- are those of task_finish.
CREATE TABLE taskyard.end_aside (
    task_id uuid PRIMARY KEY,
    token uuid NOT NULL,
    since timestamptz NOT NULL,
    reason text NOT NULL,
    code smallint NOT NULL,
    result bytea,
    after_us bigint,
    error_type text,
    error_message text,
    error_traceback text,
    context bytea
);
-- How many ends a server holds that the database refuses, and what it said of one of them.
ALTER TABLE taskyard.server ADD COLUMN ends_held bigint NOT NULL DEFAULT 0, ADD COLUMN ends_held_reason text;
