delete from ty_deadline where sequence = ?1
