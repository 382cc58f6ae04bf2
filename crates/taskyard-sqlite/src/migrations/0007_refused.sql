-- Additions that were asked back before they were stored: they store nothing when they arrive.
create table ty_refused (
    id blob primary key,
    at integer not null
) without rowid;
create index ty_refused_at on ty_refused (at);
