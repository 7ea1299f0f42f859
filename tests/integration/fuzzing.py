"""Every place that reads what was written elsewhere, given what nobody would write.

Each gives a value of its declared type or one of its own errors; never another exception, and
never an error that quotes what may be a secret.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import apsw

from amends import AmendsError
from amends.actors.continuing import state_of
from amends.actors.database.sqlite import SqliteDatabase
from amends.actors.fence import Fence, Row, judge
from amends.actors.fence_sql import SCRIPTS
from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.messages import History, ReadBack
from amends.actors.journal.store import Instance, Stored, checksum, verify
from amends.demo.domain import Money, Order
from amends.protocol import codec
from amends.protocol.errors import DatabaseError, InputError, RecordCorrupt
from amends.protocol.messages import Do, Resolve, SagaId, Undo
from amends.protocol.records import Record
from amends.protocol.state import State
from tests.actors.trip import BookTrip, TakeFare, Trip
from tests.actors.world import JournalUnderTest
from tests.integration.fuzzing_files import catalogue_file, order_file, order_line
from tests.integration.mutations import CARD, damaged_row, mutated
from tests.integration.promises import Broken, only, short

Fuzz = Callable[[random.Random, Path], None]

SAGA = SagaId("a1")
ORDER: dict[str, Any] = {
    "order_id": "536365", "user_id": "17850", "currency": "GBP",
    "items": [{"item_id": "A", "quantity": 6, "unit_price_minor": 255},
              {"item_id": "B", "quantity": 1, "unit_price_minor": 1}],
    "payment_info": {"method": "card_token", "account": "tok_1"},
    "shipping_address": {"country": "UK", "name": "", "street": "", "city": "", "postcode": ""},
}  # fmt: skip
RECORDS: tuple[dict[str, Any], ...] = (
    {"type": "started", "saga_id": SAGA, "saga": "book-trip", "version": 1, "key": "k", "input": {"name": "x"},
     "at": 1.5},
    {"type": "step_done", "step": "seat", "result": "seat of x"},
    {"type": "step_refused", "step": "fare", "reason": "no money"},
    {"type": "step_retried", "step": "fare", "attempt": 2, "due_at": 2.5, "reason": "no answer"},
    {"type": "step_resolving", "step": "fare", "reason": "no answer", "cause_step": "seat", "cause_reason": "no"},
    {"type": "step_never", "step": "fare"},
    {"type": "decided", "direction": "back", "step": "fare", "reason": "no money"},
    {"type": "decided", "direction": "forward"},
    {"type": "step_undone", "step": "seat"},
    {"type": "step_stuck", "step": "ticket", "attempt": 4, "due_at": 9.5, "reason": "no paper"},
    {"type": "intervened", "step": "ticket", "action": "supply", "by": "me", "reason": "why not", "result": {"a": [1]}},
    {"type": "resumed"},
    {"type": "ended", "completed": False, "step": "fare", "reason": "no money"},
)  # fmt: skip
PLANS = {(BookTrip.plan.name, BookTrip.plan.version): BookTrip.plan}
KINDS: tuple[tuple[Any, Any], ...] = (
    (Trip, {"name": "x", "seats": 2}),
    (TakeFare, {"name": "x"}),
    (Order, ORDER),
    (Money, {"amount_minor": 3, "currency": "GBP"}),
    (str, "seat of x"),
    (int, 7),
    (dict[str, int], {"a": 1}),
    (list[float] | None, [1.5, 2]),
)


def record(chance: random.Random, folder: Path) -> None:
    """`codec.decode_record`: a record or RecordCorrupt."""
    body, schema = mutated(chance, chance.choice(RECORDS)), chance.choice((1, 1, 1, 0, 2, 2**63))
    only(RecordCorrupt, lambda: codec.decode_record(SAGA, 3, schema, body), get_args(Record), body)


def value(chance: random.Random, folder: Path) -> None:
    """`codec.decode` of inputs, commands and results: the kind asked for or InputError."""
    kind, valid = chance.choice(KINDS)
    data = mutated(chance, valid)
    plain = object if not isinstance(kind, type) or getattr(kind, "__args__", None) else kind
    only(InputError, lambda: codec.decode(kind, data, "saga 'x'"), plain, data)


def _history(chance: random.Random) -> list[Stored]:
    """A history whose checksums are right, of records in any order, some of them damaged."""
    chosen = [RECORDS[0], *chance.choices(RECORDS[1:], k=chance.randrange(5))]
    bodies = [json.dumps(r) if chance.random() < 0.9 else mutated(chance, r).decode(errors="replace") for r in chosen]
    stored, before = [], 0
    for seq, body in enumerate(bodies):
        before = checksum(before, SAGA, seq, 1.5, codec.SCHEMA, body.encode())
        stored.append(Stored(SAGA, seq, 1.5, codec.SCHEMA, "x", body, before))
    return stored


def rows(chance: random.Random, folder: Path) -> None:
    """`store.verify` of rows with damaged columns, places and numbers: nothing or RecordCorrupt."""
    history = _history(chance)
    damaged = _damaged(chance, history)
    only(RecordCorrupt, lambda: verify(SAGA, damaged), type(None), damaged)


def _damaged(chance: random.Random, history: list[Stored]) -> list[Stored]:
    copy = list(history)
    place = chance.randrange(len(copy))
    if chance.random() < 0.2:
        del copy[place]
    elif chance.random() < 0.1:
        copy.insert(place, chance.choice(copy))
    else:
        copy[place] = Stored(*damaged_row(chance, tuple(copy[place]), keep=1))
    return copy


def state(chance: random.Random, folder: Path) -> None:
    """`state_of` a history of sound records in unsound order: a state or AmendsError."""
    records: tuple[Record, ...] = ()
    with suppress(RecordCorrupt):
        for stored in _history(chance):
            records += (codec.decode_record(SAGA, stored.seq, 1, stored.body.encode()),)
    if records:
        made = only(AmendsError, lambda: state_of(PLANS, records), tuple, records)
        assert made is None or isinstance(made[1], State)


class _Shelf(MemoryStore):
    """A store of one instance, whose records are whatever stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Stored] = []

    def instance(self, saga_id: str) -> Instance | None:
        return Instance(SAGA, "book-trip", 1, "k", "open", 1.5)

    def history(self, saga_id: str) -> list[Stored]:
        return list(self.rows)


def history(chance: random.Random, folder: Path) -> None:
    """The journal reads a damaged history back: its records, or why not; and it does not fail."""
    shelf = _Shelf()
    sound = _history(chance)
    shelf.rows = _damaged(chance, sound) if chance.random() < 0.5 else sound
    journal = JournalUnderTest(lambda: shelf)
    try:
        told = journal.tell(ReadBack(SAGA, journal.asker))
        failed = [report.error for report in journal.keeper.take()]
    finally:
        journal.stop()
    if failed or not isinstance(told[0], History) or bool(told[0].records) is bool(told[0].problem):
        raise Broken(f"the journal failed with {failed}; given {short(shelf.rows)}")
    if CARD in told[0].problem:
        raise Broken(f"the journal quotes the card: {told[0].problem[:300]}; given {short(shelf.rows)}")


class _Fenced:
    """A fence over a table of its own, into which any row goes."""

    def __init__(self) -> None:
        self.db = SqliteDatabase(apsw.Connection(":memory:"))
        for script in SCRIPTS["sqlite"]:
            self.db.execute(script)
        self.db.execute("pragma ignore_check_constraints = true")


_fenced = _Fenced()


def fence(chance: random.Random, folder: Path) -> None:
    """A damaged row of a fence is looked up and judged: a Row of the declared types and a Verdict, or AmendsError."""
    was = chance.choice(("begun", "done", "refused", "undone"))
    row = (SAGA, "seat", was, 3, "TakeSeat", '{"name":"x"}', '"s"', 1.5, None)
    damaged = damaged_row(chance, row, keep=2)
    db = _fenced.db
    db.execute("delete from amends_fence")
    try:
        db.execute(f"insert into amends_fence values (?, ?, {_bound(chance, damaged)})", damaged)
    except DatabaseError:
        return  # a null where none may be is no row that SQLite gives back
    rest: dict[str, Any] = {"service": "seats", "saga_id": SAGA, "step": "seat", "attempt": 1, "token": 3}
    do = Do(command="TakeSeat", payload=b'{"name":"x"}', expires_at=9.0, **rest)
    message = chance.choice((do, Undo(**rest), Resolve(**rest)))

    def look() -> object:
        found = Fence(db)
        found.load([SAGA])
        seen, newest = found.look_up(SAGA, "seat")
        judge(message, seen, newest, 2.0)
        return seen

    seen = only(AmendsError, look, Row, damaged)
    if seen is not None:
        sound = isinstance(seen.state, str) and isinstance(seen.token, int)
        if not sound or not all(isinstance(column, str | None) for column in seen[2:5]):
            raise Broken(f"a row of other types than declared: {seen}; given {short(damaged)}")


def _bound(chance: random.Random, damaged: tuple[Any, ...]) -> str:
    """Parameters for all columns but the first two; bytes now and then as text that is none."""
    return ", ".join(
        "cast(? as text)" if isinstance(column, bytes) and chance.random() < 0.5 else "?" for column in damaged[2:]
    )


SHARES: dict[str, tuple[Fuzz, int]] = {
    "record": (record, 25),
    "value": (value, 30),
    "rows": (rows, 10),
    "state": (state, 10),
    "history": (history, 4),
    "fence": (fence, 6),
    "order line": (order_line, 13),
    "order file": (order_file, 1),
    "catalogue file": (catalogue_file, 1),
}
"""What is fuzzed, and how many of a hundred inputs it gets."""


def fuzz(count: int, seed: int, folder: Path, *, which: str = "") -> Iterator[str]:
    """What did not hold, each with what replays it; `count` inputs in all, by their shares; `which` is one of them."""
    for name, (one, share) in SHARES.items():
        if which not in ("", name):
            continue
        for number in range(count * share // 100):
            try:
                one(random.Random(f"{seed} {name} {number}"), folder)
            except Broken as broken:
                yield f"{name}, seed {seed}, input {number}: {broken}"
