-- Why a person cancelled a task.
alter table ty_task add column cancel_reason text;
