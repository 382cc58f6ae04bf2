insert into ty_dead (order_number, at) values (?1, ?2)
on conflict (order_number) do update set at = excluded.at, told = 0, teller = null
