select r.queue, min(r.order_number), q.paused
from ty_ready r
left join ty_queue q on q.name = r.queue
group by r.queue
