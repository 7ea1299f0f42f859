create table stock (
    item_id  text primary key,
    on_hand  integer not null check (on_hand >= 0),
    reserved integer not null default 0 check (reserved >= 0),
    shipped  integer not null default 0 check (shipped >= 0),
    version  integer not null default 1
) strict, without rowid;

-- What came in, kept apart from stock so that stock can be checked against it.
create table receipts (
    delivery_id text not null,
    item_id     text not null,
    quantity    integer not null check (quantity >= 0),
    version     integer not null default 1,
    primary key (delivery_id, item_id)
) strict, without rowid;

create table reservations (
    order_id text not null,
    item_id  text not null,
    quantity integer not null check (quantity > 0),
    state    text not null check (state in ('held', 'committed', 'released')),
    version  integer not null default 1,
    primary key (order_id, item_id)
) strict, without rowid;
