-- One row for each instance; `started_at` and `ended_at` are unix seconds. All of it follows from the
-- instance's records, but for who is quarantined. Ids sort by their bytes, as in every other store.
-- A key may be longer than an index takes: `key_digest`, of the saga's name and the key, stands for it there.
create table instances (
    saga_id    text collate "C" primary key,
    saga       text not null,
    version    bigint not null,
    key        text not null,
    key_digest bytea not null unique,
    state      text not null check (state in ('open', 'completed', 'compensated', 'quarantined')),
    started_at double precision not null,
    ended_at   double precision
);

create index open_instances on instances (saga_id) where state = 'open';
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

-- Who may write: the token of the last opening. Every write shares a lock on the row until it is committed, so an
-- opening waits for the writes before it, and no write of theirs comes after it.
create table grants (
    id    integer primary key check (id = 1),
    token bigint not null
);
insert into grants values (1, 0);
