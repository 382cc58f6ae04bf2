update ty_deadline set at = ?2 where sequence = ?1
