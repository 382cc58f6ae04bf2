insert into ty_signal (task, server_id, token, cancel) values (?1, ?2, ?3, ?4)
on conflict (task) do update
set server_id = excluded.server_id, token = excluded.token, cancel = max(cancel, excluded.cancel)
