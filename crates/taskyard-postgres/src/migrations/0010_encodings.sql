-- Which parts of a task are plain JSON, in which type tags are data. Bits: 1 the payload, 2 the result; 4: a role that may
-- only add tasks added it; 8 (of a schedule) its first context. What was there before counts as the client's encoding.
ALTER TABLE taskyard.task ADD COLUMN plain smallint NOT NULL DEFAULT 0;
ALTER TABLE taskyard.task_context ADD COLUMN plain boolean NOT NULL DEFAULT false;
ALTER TABLE taskyard.schedule ADD COLUMN plain smallint NOT NULL DEFAULT 0;
