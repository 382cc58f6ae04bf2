select id, server_id from ty_claim where id > ?1 order by id limit ?2
