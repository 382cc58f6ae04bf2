-- Whether hooks were told of a dead letter, and which server is telling them. What died before there were hooks is not told.
alter table ty_dead add column told integer not null default 0;
alter table ty_dead add column teller blob;
update ty_dead set told = 1;
create index ty_dead_untold on ty_dead (at) where told = 0;
