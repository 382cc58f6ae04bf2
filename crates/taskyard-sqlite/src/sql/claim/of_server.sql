select id, tasks from ty_claim where server_id = ?1 order by id
