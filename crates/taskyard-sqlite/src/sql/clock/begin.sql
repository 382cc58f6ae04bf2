select c.offset_us, c.frozen_at, s.queues from ty_clock c, ty_sequence s
