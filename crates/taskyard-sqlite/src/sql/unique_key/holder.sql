select task from ty_unique_key where key = ?1 and (until is null or until > ?2)
