insert into ty_ready (lane, rank, order_number, queue) values (?1, ?2, ?3, ?4)
on conflict do nothing
