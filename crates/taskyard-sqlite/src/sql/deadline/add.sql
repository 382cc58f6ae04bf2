insert into ty_deadline (at, order_number, what) values (?1, ?2, ?3)
