create table orders (
    order_id       text primary key,
    user_id        text not null,
    items          text not null check (items::json is not null),
    amount_minor   bigint not null check (amount_minor >= 0),
    shipping_minor bigint check (shipping_minor >= 0),
    currency       text not null,
    state          text not null check (state in ('pending', 'handed_over', 'confirmed', 'cancelled')),
    version        bigint not null default 1
);

-- What somebody said to an order, and about what.
create table approvals (
    order_id text not null,
    of       text not null,
    approved bigint not null check (approved in (0, 1)),
    by       text not null,
    version  bigint not null default 1,
    primary key (order_id, of)
);

-- Steps of sagas that wait for it.
create table waiting (
    order_id text not null,
    of       text not null,
    saga_id  text not null,
    step     text not null,
    version  bigint not null default 1,
    primary key (order_id, of, saga_id, step)
);
