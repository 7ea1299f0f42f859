create table orders (
    order_id       text primary key,
    user_id        text not null,
    items          text not null check (json_valid(items)),
    amount_minor   integer not null check (amount_minor >= 0),
    shipping_minor integer check (shipping_minor >= 0),
    currency       text not null,
    state          text not null check (state in ('pending', 'confirmed', 'cancelled')),
    version        integer not null default 1
) strict, without rowid;
