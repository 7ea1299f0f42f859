create table shipments (
    order_id   text primary key,
    country    text not null,
    zone       text not null,
    units      integer not null check (units > 0),
    cost_minor integer not null check (cost_minor >= 0),
    currency   text not null,
    state      text not null check (state in ('prepared', 'dispatched', 'cancelled')),
    version    integer not null default 1
) strict, without rowid;

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
