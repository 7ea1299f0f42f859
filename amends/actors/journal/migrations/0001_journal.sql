-- One row for each instance; `started_at` and `ended_at` are unix seconds. All of it follows from the
-- instance's records, but for who is quarantined.
create table instances (
    saga_id    text primary key,
    saga       text not null,
    version    integer not null,
    key        text not null,
    state      text not null check (state in ('open', 'completed', 'compensated', 'quarantined')),
    started_at real not null,
    ended_at   real,
    unique (saga, key)
) without rowid;

create index open_instances on instances (saga_id) where state = 'open';
create index ended_instances on instances (ended_at) where ended_at is not null;

-- The history of each instance, in order. `checksum` covers the row and the one before it.
create table records (
    saga_id  text not null,
    seq      integer not null,
    at       real not null,
    schema   integer not null,
    type     text not null,
    body     text not null,
    checksum integer not null,
    primary key (saga_id, seq)
) without rowid;

-- Who may write: the token of the last opening. The file's user_version says it once more.
create table grants (
    id    integer primary key check (id = 1),
    token integer not null
);
insert into grants values (1, 0);
