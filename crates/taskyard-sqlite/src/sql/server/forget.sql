delete from ty_server
where dead_at < ?1 and not exists (select 1 from ty_claim c where c.server_id = ty_server.id)
