-- Which parts of a task are plain JSON, in which type tags are data. Bits: 1 the payload, 2 the result, 8 (of a schedule) its
-- first context. What was there before counts as the client's encoding.
alter table ty_task add column plain integer not null default 0;
alter table ty_task_context add column plain integer not null default 0;
alter table ty_schedule add column plain integer not null default 0;
