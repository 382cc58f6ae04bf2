-- Until when upkeep leaves these alone: they met a lock, or the database refused their change.
ALTER TABLE taskyard.waiting ADD COLUMN not_before timestamptz;
ALTER TABLE taskyard.cascade ADD COLUMN not_before timestamptz;
