create table payments (
    order_id     text primary key,
    user_id      text not null,
    method       text not null,
    account      text not null,
    amount_minor integer not null check (amount_minor >= 0),
    currency     text not null,
    state        text not null check (state in ('held', 'captured', 'voided', 'charged', 'refunded')),
    version      integer not null default 1
) strict, without rowid;

-- The ledger is only ever added to. Each movement is two entries whose sum is zero. That a movement
-- stands here once is not forced by a key: the audit must be able to see it if it does not.
create table entries (
    id           integer primary key,
    order_id     text not null,
    movement     text not null check (movement in ('hold', 'capture', 'void', 'charge', 'refund')),
    account      text not null check (account in ('customer', 'held', 'revenue')),
    amount_minor integer not null,
    currency     text not null,
    version      integer not null default 1
) strict;

-- used_minor is the sum of the account's payments that are held, captured or charged, kept here so that no payment
-- has to add them up. An account without a row has no limit.
create table limits (
    account     text primary key,
    limit_minor integer not null check (limit_minor >= 0),
    used_minor  integer not null check (used_minor >= 0),
    version     integer not null default 1
) strict, without rowid;

-- What each order's payment came to, for whoever looks; a place says in which order the rows came in.
create table records (
    place    integer primary key,
    order_id text not null unique,
    record   text,
    version  integer not null default 1
) strict;

-- Orders whose payment is refused.
create table blacklist (
    place    integer primary key,
    order_id text not null unique,
    version  integer not null default 1
) strict;
