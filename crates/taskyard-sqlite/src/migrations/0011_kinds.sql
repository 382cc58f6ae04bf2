-- Kinds that builds of programs were found not to know. Runnable rows of such kinds stand apart, in groups: one group for each
-- set of builds that refused a kind. The upper 32 bits of a lane are the group's number, 0 for kinds that no build refused.

-- What servers of one program can run, as far as one runtime goes: the same fingerprint means that they know the same kinds.
-- Numbers are never used again.
create table ty_build (
    id integer primary key autoincrement,
    runtime integer not null,
    fingerprint text not null,
    seen_at integer not null,
    unique (runtime, fingerprint)
);

-- The builds of a server by runtime (null: it does not serve that one), and the queues that it serves, a JSON array (null:
-- all). says: 0 for a server that does not say what it can run.
alter table ty_server add column says integer not null default 0;
alter table ty_server add column build_0 integer;
alter table ty_server add column build_1 integer;
alter table ty_server add column queues text;

-- builds: those that refused the kinds of this group, a JSON array in ascending order; only builds that are gone are ever taken
-- out. draining: no kind has this group any more, and what stands in it is moved elsewhere.
create table ty_kind_group (
    id integer primary key autoincrement,
    runtime integer not null,
    builds text not null,
    draining integer not null default 0
);

-- Kinds that some build refused.
create table ty_kind (
    runtime integer not null,
    kind text not null,
    group_id integer not null,
    primary key (runtime, kind)
) without rowid;
create index ty_kind_group_of on ty_kind (group_id);

-- The walk that moves runnable rows to the groups of their kinds: asked for by raising `version`, complete for `walked`. Where
-- it stands is null at the head.
create table ty_kind_walk (
    one integer primary key check (one = 1),
    version integer not null,
    walked integer not null,
    walking integer,
    lane integer,
    rank integer,
    order_number integer
);
insert into ty_kind_walk values (1, 0, 0, null, null, null, null);
