insert into ty_claim (id, server_id, at, tasks) values (?1, ?2, ?3, ?4)
