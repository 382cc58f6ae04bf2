insert into ty_ready (lane, rank, order_number, queue, ages_at) values (?1, ?2, ?3, ?4, ?5)
on conflict do nothing
