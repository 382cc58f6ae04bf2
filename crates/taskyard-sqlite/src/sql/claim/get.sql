select server_id, tasks, at from ty_claim where id = ?1
