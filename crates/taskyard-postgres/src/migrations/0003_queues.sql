-- Queues that age. The columns are empty for all others, and the partial indexes hold nothing of them: a claim, and an
-- addition, of a queue that does not age cost what they did.

-- Null: the queue does not age. It then has a lane of its own while it does.
ALTER TABLE taskyard.queue ADD COLUMN ageing_us bigint;

-- When the row moves up by one priority; its rank is ~priority minus the times that it has. Not null while its rank may
-- differ from ~priority.
ALTER TABLE taskyard.ready ADD COLUMN ages_at timestamptz;
CREATE INDEX ready_ages ON taskyard.ready (ages_at) WHERE ages_at IS NOT NULL;
CREATE INDEX ready_aged_task ON taskyard.ready (task_id) WHERE ages_at IS NOT NULL;
