-- One row for each opening of the journal that may write, made under the token it was granted. `until` is the end of
-- its lease, by this server's clock. Once it is `over` it stays so: another node has begun to adopt what it had. Every
-- write shares a lock on the writer's row until it is committed, so whoever ends a lease waits for the writes before it,
-- and no write of that opening comes after it.
create table nodes (
    node  bigint primary key,
    name  text not null,
    until timestamptz not null,
    over  boolean not null default false
);

-- The last token granted. Whoever takes the next one keeps the row locked until that is committed.
create table grants (
    id    integer primary key check (id = 1),
    token bigint not null
);
insert into grants values (1, 0);

-- One row for each instance; `started_at` and `ended_at` are unix seconds. But for who is quarantined, and for whose it
-- is and under which token, all of it follows from the instance's records. Ids sort by their bytes, as in every other store.
-- A key may be longer than an index takes: `key_digest`, of the saga's name and the key, stands for it there.
create table instances (
    saga_id    text collate "C" primary key,
    saga       text not null,
    version    bigint not null,
    key        text not null,
    key_digest bytea not null unique,
    state      text not null check (state in ('open', 'completed', 'compensated', 'quarantined')),
    started_at double precision not null,
    ended_at   double precision,
    node       bigint not null,
    token      bigint not null
);

create index open_instances on instances (node, saga_id) where state = 'open';
create index ended_instances on instances (ended_at) where ended_at is not null;

-- The history of each instance, in order. `checksum` covers the row and the one before it.
create table records (
    saga_id  text collate "C" not null,
    seq      bigint not null,
    at       double precision not null,
    schema   bigint not null,
    type     text not null,
    body     text not null,
    checksum bigint not null,
    primary key (saga_id, seq)
);

-- What callers at one node ask of instances that another node runs, and what that one has answered; kept for a day.
create table requests (
    request_id text collate "C" primary key,
    saga_id    text collate "C" not null,
    body       text not null,
    answer     text,
    at         timestamptz not null default clock_timestamp()
);
