-- The role that added the task, if it may only add: what it learns is about its own tasks.
ALTER TABLE taskyard.task ADD COLUMN added_by text;
