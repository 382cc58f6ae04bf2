select coalesce(max(version), 0) from ty_migration
