delete from ty_claim where id = ?1
