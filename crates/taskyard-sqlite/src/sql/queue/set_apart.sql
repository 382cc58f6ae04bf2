insert into ty_queue (name, apart) values (?1, ?2)
on conflict (name) do update set apart = max(apart, excluded.apart)
