delete from ty_kind_group where id = ?1
