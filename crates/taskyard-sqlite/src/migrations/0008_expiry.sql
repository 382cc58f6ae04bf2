-- The next expiry, among however many removals.
create index ty_deadline_expire on ty_deadline (at) where what = 0;
