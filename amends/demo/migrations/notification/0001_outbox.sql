-- What a mailer is to send. That an order's confirmation stands here once is not forced by a key: the audit must
-- be able to see it if it does not.
create table outbox (
    id       integer primary key,
    order_id text not null,
    user_id  text not null,
    kind     text not null check (kind in ('confirmation', 'resend')),
    body     text not null,
    state    text not null check (state in ('queued', 'sent')),
    version  integer not null default 1
) strict;

create index outbox_by_order on outbox (order_id);

-- Which orders' customers are to be told again, and from when on (unix seconds).
create table resends (
    order_id text primary key,
    due_at   real not null,
    state    text not null check (state in ('pending', 'written')),
    version  integer not null default 1
) strict, without rowid;
