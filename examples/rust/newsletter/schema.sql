CREATE TABLE IF NOT EXISTS subscriber (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS mail (
    -- The task that sends it: a second run of it sends nothing again.
    task_id uuid PRIMARY KEY,
    subscriber_id bigint NOT NULL REFERENCES subscriber,
    subject text NOT NULL
);
