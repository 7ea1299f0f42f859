-- `place` orders the items as they came in; an item that was struck off has none.
create table stock (
    item_id  text primary key,
    on_hand  bigint not null check (on_hand >= 0),
    reserved bigint not null default 0 check (reserved >= 0),
    shipped  bigint not null default 0 check (shipped >= 0),
    place    bigint,
    version  bigint not null default 1
);

-- What came in, kept apart from stock so that stock can be checked against it. What a count found
-- missing came in, too: as less than nothing.
create table receipts (
    delivery_id text not null,
    item_id     text not null,
    quantity    bigint not null,
    version     bigint not null default 1,
    primary key (delivery_id, item_id)
);

-- `price` is what one unit cost when it was taken, as the catalogue had it.
create table reservations (
    order_id text not null,
    item_id  text not null,
    quantity bigint not null check (quantity > 0),
    state    text not null check (state in ('held', 'committed', 'released', 'taken', 'returned')),
    price    text,
    version  bigint not null default 1,
    primary key (order_id, item_id)
);

-- Prices in whole units of the shop's currency, as JSON: a number, or a Decimal's text.
create table prices (
    item_id text primary key,
    price   text not null,
    place   bigint not null,
    version bigint not null default 1
);

-- Steps of orders that wait for units, in the order of `place`; `units` is all that a step wants and
-- `held` what it has already, as JSON. A verdict says why its order is to give up.
create table waits (
    saga_id  text not null,
    step     text not null,
    order_id text not null,
    units    text not null,
    held     text not null default '{}',
    place    bigint not null,
    verdict  text,
    version  bigint not null default 1,
    primary key (saga_id, step)
);
