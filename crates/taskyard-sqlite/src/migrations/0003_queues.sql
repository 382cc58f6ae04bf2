-- Queues that age. The columns are empty for all others, and the partial indexes hold nothing of them.

-- Microseconds; null: the queue does not age.
alter table ty_queue add column ageing_us integer;

-- When the row moves up by one priority; its rank is the priority negated, minus the times that it has. Not null while its
-- rank may differ from the priority negated.
alter table ty_ready add column ages_at integer;
create index ty_ready_ages on ty_ready (ages_at) where ages_at is not null;
create index ty_ready_aged on ty_ready (order_number) where ages_at is not null;
