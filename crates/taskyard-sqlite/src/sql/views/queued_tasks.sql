create view queued_tasks as /* taskyard */
select
    lower(substr(hex(t.id), 1, 8) || '-' || substr(hex(t.id), 9, 4) || '-' || substr(hex(t.id), 13, 4) || '-' || substr(hex(t.id), 17, 4) || '-' || substr(hex(t.id), 21)) as id,
    coalesce(t.name, t.kind) as name,
    t.kind,
    case t.runtime when 0 then 'rust' else 'python' end as runtime,
    case t.state when 0 then 'waiting' when 1 then 'enqueued' when 2 then 'doing' when 3 then 'stopped' when 4 then 'done' when 5 then 'failed' when 6 then 'cancelled' else 'unknown' end as state,
    case when t.parent_id is not null then lower(substr(hex(t.parent_id), 1, 8) || '-' || substr(hex(t.parent_id), 9, 4) || '-' || substr(hex(t.parent_id), 13, 4) || '-' || substr(hex(t.parent_id), 17, 4) || '-' || substr(hex(t.parent_id), 21)) end as parent_task,
    strftime('%Y-%m-%d %H:%M:%f', t.created_at / 1000000.0, 'unixepoch') as date_enqueued,
    strftime('%Y-%m-%d %H:%M:%f', t.started_at / 1000000.0, 'unixepoch') as date_started,
    strftime('%Y-%m-%d %H:%M:%f', t.finished_at / 1000000.0, 'unixepoch') as date_done,
    t.queue,
    t.priority,
    case when json_valid(cast(t.payload as text)) then json_extract(cast(t.payload as text), '$.args') end as args,
    case when json_valid(cast(t.payload as text)) then json_extract(cast(t.payload as text), '$.kwargs') end as kwargs,
    (select case when json_valid(cast(c.context as text)) then cast(c.context as text) end from ty_task_context c where c.order_number = t.order_number) as context,
    case when json_valid(cast(t.result as text)) then cast(t.result as text) end as result,
    case when t.error_type is not null then t.error_type || ': ' || coalesce(t.error_message, '') end as error,
    t.error_traceback as traceback,
    case w.reason
        when 0 then coalesce((
            select 'parent ' || case p.state when 0 then 'waiting' when 1 then 'enqueued' when 2 then 'doing' when 3 then 'stopped' when 4 then 'done' when 5 then 'failed' when 6 then 'cancelled' else 'unknown' end
            from ty_edge e
            join ty_task p on p.order_number = e.parent
            where e.child = t.order_number and e.open
            order by p.state <> 3, e.place
            limit 1
        ), 'parent unfinished')
        when 1 then 'start time ahead'
        when 2 then 'backing off'
        when 3 then w.parked
        when 4 then 'parents being settled'
    end as waiting_for,
    t.attempt,
    t.failures,
    t.lost,
    t.crashes,
    t.unique_key,
    t.tags,
    strftime('%Y-%m-%d %H:%M:%f', t.run_at / 1000000.0, 'unixepoch') as date_run_at,
    strftime('%Y-%m-%d %H:%M:%f', t.expires_at / 1000000.0, 'unixepoch') as date_expires,
    case when t.server_id is not null then lower(substr(hex(t.server_id), 1, 8) || '-' || substr(hex(t.server_id), 9, 4) || '-' || substr(hex(t.server_id), 13, 4) || '-' || substr(hex(t.server_id), 17, 4) || '-' || substr(hex(t.server_id), 21)) end as server
from ty_task t
left join ty_waiting w on w.order_number = t.order_number
