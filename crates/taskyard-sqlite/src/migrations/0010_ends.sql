-- Ends of attempts that the rows of their tasks do not take: each with its token and what the database said of it.
create table ty_end_aside (
    task blob primary key,
    token blob not null,
    since integer not null,
    reason text not null,
    code integer not null,
    result blob,
    after_us integer,
    error_type text,
    error_message text,
    error_traceback text,
    context blob
);
-- How many ends a server holds that the database refuses, and what it said of one of them.
alter table ty_server add column ends_held integer not null default 0;
alter table ty_server add column ends_held_reason text;
