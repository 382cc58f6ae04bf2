-- Why a person cancelled a task.
ALTER TABLE taskyard.task ADD COLUMN cancel_reason text;
