insert into ty_queue (name, ageing_us) values (?1, ?2)
on conflict (name) do update set ageing_us = excluded.ageing_us
