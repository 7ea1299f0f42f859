"""Bits that flip on the disk: a journal, one bit of it at a time, and what a reader makes of that.

Flips are chosen from a seed, in all of the file or in one of its trees. What is read afterwards is
compared with what was written, through the store's own port; a difference is either found, by an
error or a quarantine that says so, or one of the kinds below, which nobody would notice.
"""

import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, Instance, Stored, checksum, verify
from amends.protocol import codec
from amends.protocol.errors import RecordCorrupt, StorageError
from amends.protocol.messages import SagaId
from amends.protocol.records import Ended, Record, Started, StepDone
from tests.open_ids import open_ids

PAGE = 4096
STATES = ("open", "completed", "compensated", "open", "completed", "open")

# Kinds of damage that is found.
REFUSED = "the file is refused"
CORRUPT = "a history is said to be corrupt"
QUARANTINED = "an instance is quarantined by the opening"
MENDED = "the file was mended, and nothing is missing"
HARMLESS = "nothing has changed"

FOUND = (REFUSED, CORRUPT, QUARANTINED, MENDED, HARMLESS)

# Kinds that must not be.
ALTERED = "a record reads as another"
SHORTER = "a history has lost its end"
HIDDEN_KEY = "a key leads to no instance, or to another"
HIDDEN_OPEN = "an open instance is not listed"
CHANGED = "an instance reads as another"
TOO_MANY = "more is quarantined than stood beside the flip"
AGAIN = "the next opening finds damage once more"
WRONG_COUNTS = "instances are counted that are none, or not counted"
TOKEN_BACK = "the next opening gets a token that was granted before"
NAMELESS = "an error that is not ours, and names no file"

NEIGHBOURS = 16
"""How many instances stand in one page at most."""

Written = dict[str, tuple[Instance, list[Stored]]]


class Journal(NamedTuple):
    """A journal at rest, and what was written to it.

    Attributes:
        token: the last one that was granted.
        trees: the places of each table's and index's pages in the file.
    """

    content: bytes
    written: Written
    token: int
    trees: dict[str, list[int]]


def write_journal(folder: Path, instances: int) -> Journal:
    """A journal of so many instances, the same bytes every time."""
    path = folder / "journal.db"
    chance = random.Random(0)
    written: Written = {}
    for _ in range(9):
        SqliteStore(path).close()  # a token that is more than the first says more about what becomes of it
    with closing(SqliteStore(path)) as store:
        for number in range(instances):
            saga_id = f"{1_795_202_260_000 + number:012x}7000{chance.getrandbits(64):016x}"
            state = STATES[number % len(STATES)]
            instance = Instance(saga_id, "book-trip", 1, f"trip-{number}", "open", 1795202260.25 + number)
            history = history_of(instance, 3 + number % 6, state)
            store.write(Batch([instance], history, []))
            if state != "open":
                ended_at = history[-1].at
                store.write(Batch([], [], [(state, ended_at, saga_id)]))
                instance = instance._replace(state=state, ended_at=ended_at)
            written[saga_id] = (instance, history)
        token = store.token
    return Journal(path.read_bytes(), written, token, trees(path))


def history_of(instance: Instance, length: int, state: str = "open") -> list[Stored]:
    """A history as the journal writes it; the last record is an end if the state is one."""
    start = (instance.saga, instance.version, instance.key, msgspec.Raw(b'{"name":"ann"}'), instance.started_at)
    records: list[Record] = [Started(SagaId(instance.saga_id), *start)]
    records += [StepDone(f"step-{seq}", msgspec.Raw(b'"result of %d"' % seq)) for seq in range(1, length)]
    if state in ("completed", "compensated"):
        records[-1] = Ended(completed=state == "completed")
    history: list[Stored] = []
    before = 0
    for seq, record in enumerate(records):
        at, body = instance.started_at + seq, codec.encode(record)
        before = checksum(before, instance.saga_id, seq, at, codec.SCHEMA, body)
        kind = codec.TYPES[type(record)]
        history.append(Stored(instance.saga_id, seq, at, codec.SCHEMA, kind, body.decode(), before))
    return history


def trees(path: Path) -> dict[str, list[int]]:
    """Where the pages of each table and index begin in a file."""
    with closing(apsw.Connection(str(path))) as db:
        found: dict[str, list[int]] = {}
        for name, number in db.execute("select name, pageno from dbstat order by pageno"):
            found.setdefault(str(name), []).append((int(number) - 1) * PAGE)
    return found


def flipped(content: bytes, bit: int) -> bytes:
    """The same with one bit turned over."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Findings(NamedTuple):
    """What flips led to: how many flips showed each kind, and which those were."""

    kinds: Counter[str]
    flips: dict[str, list[str]]


def check_bit_flips(folder: Path, count: int, seed: int, tree: str = "", instances: int = 48) -> Findings:
    """Flip one bit of a sound journal, `count` times, and compare what is read with what was written.

    Args:
        tree: the table or index to flip in; anywhere in the file if empty.
    """
    folder.mkdir(exist_ok=True)
    journal = write_journal(folder, instances)
    pages = journal.trees[tree] if tree else range(0, len(journal.content), PAGE)
    chance = random.Random(seed)
    findings = Findings(Counter(), {})
    for _ in range(count):
        bit = (chance.choice(pages) + chance.randrange(PAGE)) * 8 + chance.randrange(8)
        place = folder / "flipped"
        place.mkdir()
        (place / "journal.db").write_bytes(flipped(journal.content, bit))
        for kind, what in sorted(judge(place / "journal.db", journal).items()):
            findings.kinds[kind] += 1
            owner = next((name for name, at in journal.trees.items() if bit // 8 // PAGE * PAGE in at), "a free page")
            findings.flips.setdefault(kind, []).append(f"bit {bit}, in {owner}: {what}")
        shutil.rmtree(place)
    return findings


def judge(path: Path, journal: Journal) -> dict[str, str]:
    """The kinds of damage that show when the journal is read, with an example of each."""
    try:
        store = SqliteStore(path)
    except StorageError as error:
        return {REFUSED if str(path) in str(error) else NAMELESS: str(error)}
    except Exception as error:  # noqa: BLE001 - that it is none of ours is what is to be found
        return {NAMELESS: f"open: {error!r}"}
    with closing(store):
        found = dict(_differences(store, journal))
    copies = len(list(path.parent.glob("*.damaged*")))
    if copies:
        SqliteStore(path).close()
        if len(list(path.parent.glob("*.damaged*"))) != copies:
            found[AGAIN] = ""
    return found or {MENDED if copies else HARMLESS: ""}


def _differences(store: SqliteStore, journal: Journal) -> Iterator[tuple[str, str]]:
    # An instance that is put aside, or whose history is said to be corrupt, is a known case: what else is off about
    # it does no harm.
    known: set[str] = set()
    if store.token <= journal.token:
        yield TOKEN_BACK, f"{store.token} after {journal.token}"
    for saga_id in journal.written:
        found = store.instance(saga_id)
        if found is not None and found.state == "quarantined":
            known.add(saga_id)
            yield QUARANTINED, saga_id
    if len(known) > NEIGHBOURS:
        yield TOO_MANY, f"{len(known)} of {len(journal.written)}"
    for saga_id, (instance, history) in journal.written.items():
        try:
            verify(saga_id, records := store.history(saga_id))
        except RecordCorrupt as error:
            known.add(saga_id)
            yield CORRUPT, str(error)
        except Exception as error:  # noqa: BLE001 - as above
            yield NAMELESS, f"history: {error!r}"
        else:
            yield from _compare(saga_id, records, history, known)
        if saga_id not in known:
            yield from _look_up(store, instance)
    yield from _list(store, journal.written, known)


def _compare(
    saga_id: str, found: Sequence[Stored], history: Sequence[Stored], known: set[str]
) -> Iterator[tuple[str, str]]:
    # `type` is for people who look into the file, and the id is the one that was asked for: nothing reads them.
    facts = [record[1:4] + record[5:] for record in found]
    wanted = [record[1:4] + record[5:] for record in history]
    if facts != wanted[: len(facts)]:
        yield ALTERED, f"{saga_id}: {facts}"
    elif len(facts) < len(wanted) and saga_id not in known:
        yield SHORTER, f"{saga_id}: {len(facts)} records of {len(wanted)}"


def _look_up(store: SqliteStore, wanted: Instance) -> Iterator[tuple[str, str]]:
    try:
        by_key, by_id = store.find(wanted.saga, wanted.key), store.instance(wanted.saga_id)
    except Exception as error:  # noqa: BLE001 - as above
        yield NAMELESS, f"find: {error!r}"
        return
    if by_key is None or by_key.saga_id != wanted.saga_id:
        yield HIDDEN_KEY, f"{wanted.key}: {by_key}"
    if by_id != wanted:
        yield CHANGED, f"{by_id}, wanted {wanted}"


def _list(store: SqliteStore, written: Written, known: set[str]) -> Iterator[tuple[str, str]]:
    wanted = {saga_id for saga_id, (instance, _) in written.items() if instance.state == "open"}
    try:
        listed = set(open_ids(store, "", 10_000))
        if listed - wanted or wanted - listed - known:
            yield HIDDEN_OPEN, str(sorted(listed ^ wanted))
        instances = [store.instance(saga_id) for saga_id in written]
        counts = store.counts()
        if counts != Counter(instance.state for instance in instances if instance is not None):
            yield WRONG_COUNTS, str(counts)
    except Exception as error:  # noqa: BLE001 - as above
        yield NAMELESS, f"list: {error!r}"
