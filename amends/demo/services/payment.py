"""Payment: what customers owe, by double entry.

Money only moves between accounts: in two stages from the customer to what is held and from there
to revenue or back, or in one from the customer to revenue, and back with a refund. Every movement
sums to zero, so every order's does, and the whole ledger. A customer's account may have a limit
on what is held and taken from it in all; an order may be on the blacklist.
"""

from typing import Any

import msgspec

from amends import Done, Refused, Service, answers, handles, undoes
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import (
    AuthorizePayment,
    Blacklist,
    CapturePayment,
    ChargePayment,
    PaymentRecords,
    RefundPayment,
    SetBlacklist,
    SetLimits,
    SetPaymentRecords,
)
from amends.demo.services import migrations
from amends.demo.services.dialects import listed, paired
from amends.demo.versioned import States, on_fresh_data, write_rows

DECLINED = "card_declined"
INSUFFICIENT_FUNDS = "insufficient_funds"
BLACKLISTED = "blacklisted"
PROCESSED = "processed"

_OTHER_TERMS = "order_exists: it was charged on other terms"

_PAYMENT = (
    "insert into payments (order_id, user_id, method, account, amount_minor, currency, state) "
    "values (?, ?, ?, ?, ?, ?, ?)"
)
_TERMS = "select user_id, method, account, amount_minor, currency from payments where order_id = ?"
_MOVEMENT = (
    "insert into entries (order_id, movement, account, amount_minor, currency) "
    "select order_id, ?2, ?3, -amount_minor, currency from payments where order_id = ?1 "
    "union all select order_id, ?2, ?4, amount_minor, currency from payments where order_id = ?1"
)
# All accounts in one statement, so that the payments are read once.
_LIMITS = (
    "insert into limits (account, limit_minor, used_minor) "
    "select l.key, l.value, coalesce(u.used_minor, 0) from {} l left join "
    "(select account, sum(amount_minor) as used_minor from payments "
    "where state in ('held', 'captured', 'charged') group by account) u on u.account = l.key where true "
    "on conflict (account) do update set limit_minor = excluded.limit_minor, version = limits.version + 1"
)
_USE = "update limits set used_minor = ?, version = version + 1 where account = ? and version = ?"
_PAID = "select account, amount_minor from payments where order_id = ?"
_RECORD = (
    "insert into records (order_id, record) values (?, ?) "
    "on conflict (order_id) do update set record = excluded.record, version = records.version + 1"
)

_payments = States("payments")
_charged_again = States("payments", "user_id", "method", "account", "amount_minor", "currency")


class Payment(Service, name="payment", migrations=migrations("payment"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """Held, then captured or voided; or charged, and perhaps refunded."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    # In two stages.

    @handles(AuthorizePayment)
    def authorize(self, command: AuthorizePayment) -> Done[None] | Refused:
        if self.faults.declines(command.order_id):
            return Refused(DECLINED)
        if not self._use(command.account, command.amount.amount_minor):
            return Refused(INSUFFICIENT_FUNDS)
        self.db.execute(_PAYMENT, (command.order_id, *_terms(command), "held"))
        self._enter(command.order_id, "hold", "customer", "held")
        self.faults.strike("authorize", command.order_id)
        return Done()

    @undoes(AuthorizePayment)
    def void(self, command: AuthorizePayment, result: None) -> None:
        _payments.move(self.db, command.order_id, "held", "voided")
        self._enter(command.order_id, "void", "held", "customer")
        self._free(command.order_id)
        self.faults.strike("void", command.order_id)

    @handles(CapturePayment)
    def capture(self, command: CapturePayment) -> Done[None]:
        _payments.move(self.db, command.order_id, "held", "captured")
        self._enter(command.order_id, "capture", "held", "revenue")
        self.faults.strike("capture", command.order_id)
        return Done()

    # In one.

    @handles(ChargePayment)
    def charge(self, command: ChargePayment) -> Done[None] | Refused:
        order_id = command.order_id
        if self._is_blacklisted(order_id):
            return Refused(BLACKLISTED)
        if self.faults.declines(order_id):
            return Refused(DECLINED)
        found = _payments.found(self.db, order_id)
        if found == "charged":
            terms = self.db.execute(_TERMS, (order_id,)).fetchone()
            return Done() if terms == _terms(command) else Refused(_OTHER_TERMS)
        if not self._use(command.account, command.amount.amount_minor):
            return Refused(INSUFFICIENT_FUNDS)
        if found is None:
            self.db.execute(_PAYMENT, (order_id, *_terms(command), "charged"))
        else:
            _charged_again.move(self.db, order_id, "refunded", "charged", *_terms(command))
        self._enter(order_id, "charge", "customer", "revenue")
        self.db.execute(_RECORD, (order_id, PROCESSED))
        self.faults.strike("charge", order_id)
        return Done()

    @undoes(ChargePayment)
    def give_back(self, command: ChargePayment, result: None) -> None:
        self._refund(command.order_id)

    @handles(RefundPayment)
    def refund(self, command: RefundPayment) -> Done[None]:
        self._refund(command.order_id)
        return Done()

    # What is set and asked from outside.

    @handles(SetLimits)
    def set_limits(self, command: SetLimits) -> Done[None]:
        lifted = [(account,) for account, limit in command.limits.items() if limit is None]
        limits = {account: limit for account, limit in command.limits.items() if limit is not None}
        self.db.executemany("delete from limits where account = ?", lifted)
        self.db.execute(_LIMITS.format(paired(self.db)), (_json(limits),))
        return Done()

    @handles(SetBlacklist)
    def set_blacklist(self, command: SetBlacklist) -> Done[None]:
        self.db.executemany("delete from blacklist where order_id = ?", [(gone,) for gone in command.remove])
        self.db.executemany(
            "insert into blacklist (order_id) values (?) on conflict do nothing", [(more,) for more in command.add]
        )
        return Done()

    @answers(Blacklist)
    def blacklist(self, query: Blacklist) -> list[str]:
        return [order_id for (order_id,) in self.db.execute("select order_id from blacklist order by place")]

    @handles(SetPaymentRecords)
    def set_records(self, command: SetPaymentRecords) -> Done[None]:
        self.db.executemany("delete from records where order_id = ?", [(gone,) for gone in command.remove])
        self.db.executemany(_RECORD, list(command.records.items()))
        return Done()

    @answers(PaymentRecords)
    def records(self, query: PaymentRecords) -> dict[str, str | None]:
        these = f"where order_id in ({listed(self.db)})" if query.order_ids is not None else ""
        values = (_json(query.order_ids),) if these else ()
        return dict(self.db.execute(f"select order_id, record from records {these} order by place", values))

    # The parts.

    def _enter(self, order_id: str, movement: str, giver: str, taker: str) -> None:
        """Move the whole amount of an order's payment."""
        self.db.execute(_MOVEMENT, (order_id, movement, giver, taker))

    def _refund(self, order_id: str) -> None:
        """Give back what an order was charged; nothing if that is not so, or not any more."""
        if _payments.found(self.db, order_id) != "charged":
            return
        _payments.move(self.db, order_id, "charged", "refunded")
        self._enter(order_id, "refund", "revenue", "customer")
        self._free(order_id)
        self.db.execute(_RECORD, (order_id, None))
        self.faults.strike("refund", order_id)

    def _use(self, account: str, amount_minor: int) -> bool:
        """Count an amount against the account's limit, if it has one; whether it is within it."""

        def change() -> bool:
            row = self.db.execute(
                "select limit_minor, used_minor, version from limits where account = ?", (account,)
            ).fetchone()
            if row is None:
                return True
            limit_minor, used_minor, version = row
            # A limit may have been lowered below what is used: giving back is always within it.
            if amount_minor >= 0 and used_minor + amount_minor > limit_minor:
                return False
            write_rows(self.db, _USE, [(used_minor + amount_minor, account, version)])
            return True

        return on_fresh_data(self.db, change)

    def _free(self, order_id: str) -> None:
        """Count what an order paid against no limit any more."""
        rows: list[Any] = self.db.execute(_PAID, (order_id,)).fetchall()
        for account, amount_minor in rows:
            self._use(account, -amount_minor)

    def _is_blacklisted(self, order_id: str) -> bool:
        found = self.db.execute("select 1 from blacklist where order_id = ?", (order_id,)).fetchone()
        return found is not None


def _terms(command: AuthorizePayment | ChargePayment) -> tuple[str, str, str, int, str]:
    """Who pays how much from where, as it stands in the table."""
    amount = command.amount
    return command.user_id, command.method, command.account, amount.amount_minor, amount.currency


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
