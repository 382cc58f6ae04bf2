create view queued_task_logs as /* taskyard */
select
    l.sequence as id,
    lower(substr(hex(t.id), 1, 8) || '-' || substr(hex(t.id), 9, 4) || '-' || substr(hex(t.id), 13, 4) || '-' || substr(hex(t.id), 17, 4) || '-' || substr(hex(t.id), 21)) as queued_task_id,
    case
        when l.level >= 50 then 'critical'
        when l.level >= 40 then 'error'
        when l.level >= 30 then 'warning'
        when l.level >= 20 then 'info'
        else 'debug'
    end as type,
    l.message,
    strftime('%Y-%m-%d %H:%M:%f', l.created_at / 1000000.0, 'unixepoch') as date_created,
    l.logger as name,
    l.level,
    l.attempt,
    case when json_valid(cast(l.fields as text)) then cast(l.fields as text) end as fields,
    l.traceback
from ty_task_log l
join ty_task t on t.order_number = l.order_number
