-- How many tasks of a queue start in some time: so many in so many microseconds, and when the bucket of starts is full again.
ALTER TABLE taskyard.queue ADD COLUMN rate_count int, ADD COLUMN rate_us bigint, ADD COLUMN rate_full_at timestamptz;
