insert into ty_build (runtime, fingerprint, seen_at) values (?1, ?2, ?3)
on conflict (runtime, fingerprint) do update set seen_at = excluded.seen_at
returning id
