create table orders (
    order_id       text primary key,
    user_id        text not null,
    items          text not null check (json_valid(items)),
    amount_minor   integer not null check (amount_minor >= 0),
    shipping_minor integer check (shipping_minor >= 0),
    currency       text not null,
    state          text not null check (state in ('pending', 'handed_over', 'confirmed', 'cancelled')),
    version        integer not null default 1
) strict, without rowid;

-- What somebody said to an order, and about what.
create table approvals (
    order_id text not null,
    of       text not null,
    approved integer not null check (approved in (0, 1)),
    by       text not null,
    version  integer not null default 1,
    primary key (order_id, of)
) strict, without rowid;

-- Steps of sagas that wait for it.
create table waiting (
    order_id text not null,
    of       text not null,
    saga_id  text not null,
    step     text not null,
    version  integer not null default 1,
    primary key (order_id, of, saga_id, step)
) strict, without rowid;
