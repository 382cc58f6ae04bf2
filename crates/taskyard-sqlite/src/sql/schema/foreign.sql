select name from sqlite_schema where name like 'ty\_%' escape '\' and type in ('table', 'view', 'index') limit 1
