-- Additions that were asked back before they were stored: their statements store nothing when they arrive. See task/added.sql.
CREATE TABLE taskyard.refused (id uuid PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX refused_at ON taskyard.refused (at);
