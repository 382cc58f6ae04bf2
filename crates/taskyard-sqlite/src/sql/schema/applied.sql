select version, checksum from ty_migration order by version
