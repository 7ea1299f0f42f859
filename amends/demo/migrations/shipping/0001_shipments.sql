-- A parcel prepared in two stages has its country, what its way costs, and its address as text; one that was scheduled at
-- once has the fields of the address that the customer wrote, as JSON.
create table shipments (
    order_id   text primary key,
    country    text,
    zone       text,
    units      integer check (units > 0),
    cost_minor integer check (cost_minor >= 0),
    currency   text,
    address    text,
    state      text not null check (state in ('prepared', 'dispatched', 'scheduled', 'cancelled')),
    version    integer not null default 1,
    check (iif(zone is null, address is not null and json_valid(address),
               country || units || cost_minor || currency is not null))
) strict, without rowid;

-- Orders that can't be shipped, in the order in which they came in.
create table errors (
    place    integer primary key,
    order_id text not null unique,
    version  integer not null default 1
) strict;

-- A country without a row is in zone 'world'; one whose zone is 'nowhere' is no place a parcel can go to.
create table countries (
    country text primary key,
    zone    text not null,
    version integer not null default 1
) strict, without rowid;

-- A parcel of u units costs base_minor + each_minor * (u - from_units), by the row with the largest from_units
-- that is not above u.
create table rates (
    zone       text not null,
    currency   text not null,
    from_units integer not null check (from_units > 0),
    base_minor integer not null check (base_minor >= 0),
    each_minor integer not null check (each_minor >= 0),
    version    integer not null default 1,
    primary key (zone, currency, from_units)
) strict, without rowid;
