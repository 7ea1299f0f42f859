create table payments (
    order_id     text primary key,
    user_id      text not null,
    method       text not null,
    account      text not null,
    amount_minor integer not null check (amount_minor >= 0),
    currency     text not null,
    state        text not null check (state in ('held', 'captured', 'voided')),
    version      integer not null default 1
) strict, without rowid;

-- The ledger is only ever added to. Each movement is two entries whose sum is zero. That a movement
-- stands here once is not forced by a key: the audit must be able to see it if it does not.
create table entries (
    id           integer primary key,
    order_id     text not null,
    movement     text not null check (movement in ('hold', 'capture', 'void')),
    account      text not null check (account in ('customer', 'held', 'revenue')),
    amount_minor integer not null,
    currency     text not null,
    version      integer not null default 1
) strict;
