-- How many tasks of a queue start in some time: so many in so many microseconds, and when the bucket of starts is full again.
alter table ty_queue add column rate_count integer;
alter table ty_queue add column rate_us integer;
alter table ty_queue add column rate_full_at integer;
