-- Whether hooks were told of a dead letter, and which server is telling them. What died before there were hooks is not told.
ALTER TABLE taskyard.dead ADD COLUMN told boolean NOT NULL DEFAULT true, ADD COLUMN teller uuid;
ALTER TABLE taskyard.dead ALTER COLUMN told SET DEFAULT false;
CREATE INDEX dead_untold ON taskyard.dead (at) WHERE NOT told;
