update ty_sequence set queues = queues + 1
