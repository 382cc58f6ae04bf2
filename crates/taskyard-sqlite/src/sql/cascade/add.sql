insert into ty_cascade (parent, fate, root, after) values (?1, ?2, ?3, ?4)
on conflict (parent, fate) do update set root = excluded.root, after = min(after, excluded.after)
