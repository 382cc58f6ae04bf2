select type, sql from sqlite_schema where name = ?1 collate nocase and type in ('table', 'view')
