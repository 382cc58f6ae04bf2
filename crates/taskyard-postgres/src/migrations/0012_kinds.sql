-- Kinds that builds of programs were found not to know. Runnable rows of such kinds stand apart, in groups: one group for each
-- set of builds that refused a kind. The upper 32 bits of a lane are the group's number, 0 for kinds that no build refused.
ALTER TABLE taskyard.ready ALTER COLUMN lane TYPE bigint;

-- What servers of one program can run, as far as one runtime goes: the same fingerprint means that they know the same kinds.
-- Numbers are never used again.
CREATE TABLE taskyard.build (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    runtime smallint NOT NULL,
    fingerprint text NOT NULL,
    seen_at timestamptz NOT NULL,
    UNIQUE (runtime, fingerprint)
);

-- The builds of a server by runtime (element 1 Rust, 2 Python; null: it does not serve that runtime) and the queues that it
-- serves (null: all). Both null: a program that does not say.
ALTER TABLE taskyard.server ADD COLUMN builds int[], ADD COLUMN queues text[];

-- builds: those that refused the kinds of this group, in ascending order; only builds that are gone are ever taken out.
-- draining: no kind has this group any more, and what stands in it is moved elsewhere.
CREATE TABLE taskyard.kind_group (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    runtime smallint NOT NULL,
    builds int[] NOT NULL,
    draining boolean NOT NULL DEFAULT false
);

-- Kinds that some build refused.
CREATE TABLE taskyard.kind (
    runtime smallint NOT NULL,
    kind text NOT NULL,
    group_id int NOT NULL,
    PRIMARY KEY (runtime, kind)
);
CREATE INDEX kind_group_of ON taskyard.kind (group_id);

-- The walk that moves runnable rows to the groups of their kinds: asked for by raising `version`, complete for `walked`. Where
-- it stands is null at the head.
CREATE TABLE taskyard.kind_walk (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL DEFAULT 0,
    walked bigint NOT NULL DEFAULT 0,
    walking bigint,
    lane bigint,
    rank int,
    order_number bigint
);
INSERT INTO taskyard.kind_walk DEFAULT VALUES;
