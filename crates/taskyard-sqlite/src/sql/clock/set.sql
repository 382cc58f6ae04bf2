insert into ty_clock (one, offset_us, frozen_at) values (1, ?1, ?2)
on conflict (one) do update set offset_us = excluded.offset_us, frozen_at = excluded.frozen_at
