insert into ty_queue (name, rate_count, rate_us) values (?1, ?2, ?3)
on conflict (name) do update set rate_count = excluded.rate_count, rate_us = excluded.rate_us,
    rate_full_at = case when excluded.rate_count is not null then rate_full_at end
