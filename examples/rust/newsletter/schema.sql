CREATE TABLE IF NOT EXISTS subscriber (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS mail (
    -- The task that sends the mail; the key prevents that a second run sends it again.
    task_id uuid PRIMARY KEY,
    subscriber_id bigint NOT NULL REFERENCES subscriber,
    subject text NOT NULL
);
