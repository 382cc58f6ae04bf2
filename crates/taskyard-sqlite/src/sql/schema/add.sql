insert into ty_migration (version, name, checksum, applied_at) values (?1, ?2, ?3, taskyard_now())
