update ty_claim set tasks = ?2 where id = ?1
