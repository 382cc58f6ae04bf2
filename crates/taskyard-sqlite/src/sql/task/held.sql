-- Whether a task runs on a server, and by which token; not if its end is set aside, for then it has ended.
select t.id, t.token from ty_task t
where t.order_number = ?1 and t.state = 2 and t.server_id = ?2
    and not exists (select 1 from ty_end_aside a where a.task = t.id and a.token = t.token)
