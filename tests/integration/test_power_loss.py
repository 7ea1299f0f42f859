"""Power cuts: what was promised is there afterwards, and nothing is half there.

A kill can't show this: what a process has written lives on in the system's memory. Here the disk
itself is played, and the canaries below show that a connection which syncs less would be found out.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from amends import Refused
from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, Instance, Stored, checksum, verify
from amends.actors.storage.folder import open_file
from amends.protocol import codec
from amends.protocol.messages import SagaId
from amends.protocol.records import Ended, Record, Started, StepDone
from tests.actors.trip import Script, Seats, TakeSeat
from tests.actors.world import ServiceUnderTest, sqlite
from tests.integration.bit_flips import HARMLESS, MENDED, PAGE, Journal, judge, write_journal
from tests.integration.power_loss import Image, Recorder, birth, images, moments, recording
from tests.open_ids import open_ids

CHECKPOINT_PAGES = 40
"""A checkpoint is the only time when the file itself is written, so in these runs there are many."""

BATCHES = 32
TURNS = 40
OPENINGS = 4


class Findings(NamedTuple):
    """What was wrong with images, one line for each that is told from `ok`.

    Attributes:
        verdicts: how many images were "ok", "lost" something promised, were "torn" (not the state after any whole
            number of commits) or "refused" (can't be opened or read).
        problems: what to replay.
    """

    verdicts: Counter[str]
    problems: list[str]


# The journal.


def check_power_loss(folder: Path, count: int, seed: int, synchronous: str = "") -> Findings:
    """Write a journal, cut the power `count` times, and open what each cut leaves.

    Args:
        synchronous: what to weaken the recorded connection to; its own if empty.
    """
    (folder / "recorded").mkdir(parents=True)
    with recording() as recorder:
        states = _write_journal(folder / "recorded" / "journal.db", recorder, seed, synchronous)
    cuts = images(recorder.events, moments(recorder.events, count, seed), seed)
    return _check(folder, cuts, lambda at, image: _judge_journal(at, image, states))


def check_power_loss_at_birth(folder: Path, count: int, seed: int) -> Findings:
    """Make a journal, and cut the power at every moment until it is open, `count` times each."""
    (folder / "recorded").mkdir(parents=True)
    with recording() as recorder, closing(SqliteStore(folder / "recorded" / "journal.db")):
        recorder.acknowledge(0)
    everywhere = list(range(birth(recorder.events))) * count
    return _check(folder, images(recorder.events, everywhere, seed), lambda at, image: _judge_journal(at, image, [{}]))


def check_power_loss_in_a_salvage(folder: Path, count: int, seed: int) -> Findings:
    """Damage a journal and open it, and cut the power at every moment until it is mended, `count` times each."""
    (folder / "recorded").mkdir(parents=True)
    path = folder / "recorded" / "journal.db"
    with recording() as recorder:
        journal = write_journal(path.parent, instances=12)
        listed = max(journal.trees["open_instances"])
        # Nothing is left of an index; its rows stand elsewhere too.
        recorder.overwrite(path, journal.content[:listed] + bytes(PAGE) + journal.content[listed + PAGE :])
        recorder.acknowledge(0)
        SqliteStore(path).close()
        recorder.acknowledge(0)
    everywhere = list(range(birth(recorder.events), len(recorder.events) + 1)) * count
    return _check(folder, images(recorder.events, everywhere, seed), lambda at, _: _judge_salvaged(at, journal))


def _judge_salvaged(folder: Path, journal: Journal) -> str:
    found = judge(folder / "journal.db", journal)
    return "ok" if found.keys() <= {HARMLESS, MENDED} else f"torn {found}"


Content = dict[str, tuple[Instance, tuple[Stored, ...]]]


def _write_journal(path: Path, recorder: Recorder, seed: int, synchronous: str) -> list[Content]:
    """Batches in several openings; the content after each, that of an empty journal first."""
    chance = random.Random(seed)
    content: Content = {}
    states: list[Content] = [{}]
    for _ in range(OPENINGS):
        with closing(SqliteStore(path)) as store:
            recorder.acknowledge(len(states) - 1)
            _weaken(store._db, synchronous)
            for _ in range(BATCHES // OPENINGS):
                content = {**content}
                store.write(_some_batch(content, chance))
                states.append(content)
                recorder.acknowledge(len(states) - 1)
    return states


def _weaken(db: Any, synchronous: str) -> None:
    db.wal_autocheckpoint(CHECKPOINT_PAGES)
    if synchronous:
        db.pragma("synchronous", synchronous)


def _some_batch(content: Content, chance: random.Random) -> Batch:
    """New instances, records of old ones, and ends; the content becomes what it is with them."""
    new = [Instance(f"{chance.getrandbits(64):016x}", "s", 1, f"k{len(content) + n}", "open", 1.5) for n in range(3)]
    for instance in new:
        content[instance.saga_id] = (instance, ())
    still_open = sorted(saga_id for saga_id, (instance, _) in content.items() if instance.state == "open")
    told = {instance.saga_id for instance in new} | set(chance.sample(still_open, min(3, len(still_open))))
    records: list[Stored] = []
    for saga_id in sorted(told):
        instance, history = content[saga_id]
        added = _records(instance, history, chance)
        content[saga_id] = (instance, history + added)
        records += added
    ends = [("completed", 9.5, saga_id) for saga_id in sorted(told) if content[saga_id][1][-1].type == "ended"]
    for state, ended_at, saga_id in ends:
        instance, history = content[saga_id]
        content[saga_id] = (instance._replace(state=state, ended_at=ended_at), history)
    return Batch(new, records, ends)


def _records(instance: Instance, history: tuple[Stored, ...], chance: random.Random) -> tuple[Stored, ...]:
    """One to three records that continue a history, some longer than a page; now and then the last is its end."""
    added: list[Stored] = []
    before = history[-1].checksum if history else 0
    more = chance.randint(1, 3)
    ends = chance.random() < 0.3
    for seq in range(len(history), len(history) + more):
        record = _record(instance, seq, chance, last=ends and seq == len(history) + more - 1)
        body, at = codec.encode(record), instance.started_at + seq
        before = checksum(before, instance.saga_id, seq, at, codec.SCHEMA, body)
        kind = codec.TYPES[type(record)]
        added.append(Stored(instance.saga_id, seq, at, codec.SCHEMA, kind, body.decode(), before))
    return tuple(added)


def _record(instance: Instance, seq: int, chance: random.Random, *, last: bool) -> Record:
    value = msgspec.Raw(b'"%s"' % chance.randbytes(chance.choice((10, 100, 3000))).hex().encode())
    if seq == 0:
        identity = (SagaId(instance.saga_id), instance.saga, instance.version, instance.key)
        return Started(*identity, value, instance.started_at)
    return Ended(completed=True) if last else StepDone(f"step-{seq}", value)


def _judge_journal(folder: Path, image: Image, states: list[Content]) -> str:
    with closing(SqliteStore(folder / "journal.db")) as store:
        found: Content = {}
        # Openings are promises as well: each stood before the batches of its turn.
        assert store.token > -(-image.promised // (BATCHES // OPENINGS))
        for saga_id in states[-1]:
            instance, history = store.instance(saga_id), tuple(store.history(saga_id))
            if instance is not None or history:
                verify(saga_id, history)
                found[saga_id] = (instance, history)  # type: ignore[assignment]  # none is a difference like another
        assert sum(store.counts().values()) == len(found)
        assert open_ids(store, "", 10_000) == sorted(
            i for i, (instance, _) in found.items() if instance.state == "open"
        )
    return _verdict(states.index(found) if found in states else None, image.promised)


def _verdict(commits: int | None, promised: int) -> str:
    if commits is None:
        return "torn"
    return "ok" if commits >= promised else f"lost {promised - commits} of {promised}"


def _check(folder: Path, cuts: Iterator[Image], judge: Callable[[Path, Image], str]) -> Findings:
    findings = Findings(Counter(), [])
    for image in cuts:
        place = folder / "image"
        image.write(place)
        try:
            verdict = judge(place, image)
        except Exception as error:  # noqa: BLE001 - whatever it is, the image could not be read
            verdict = f"refused {type(error).__name__}: {error}"
        findings.verdicts[verdict.split()[0]] += 1
        if verdict != "ok":
            findings.problems.append(f"{image.label}: {verdict}")
        shutil.rmtree(place)
    return findings


# A service.


def check_power_loss_of_service(folder: Path, count: int, seed: int, synchronous: str = "") -> Findings:
    """Let a service take seats and free some, cut the power `count` times, and open its database each time."""
    (folder / "recorded").mkdir(parents=True)
    with recording() as recorder:
        states = _serve(folder / "recorded" / "seats.db", recorder, seed, synchronous)
    cuts = images(recorder.events, moments(recorder.events, count, seed), seed)
    return _check(folder, cuts, lambda at, image: _judge_service(at, image, states))


Rows = tuple[list[Any], list[Any]]


def _serve(path: Path, recorder: Recorder, seed: int, synchronous: str) -> list[Rows]:
    """Turns in several openings, each answered before the next; effects and fence after each, none of them first."""
    chance = random.Random(seed)
    refuse = Script(seat=lambda service, name: Refused("taken") if name.endswith("7") else None)
    states: list[Rows] = [([], [])]
    steps = 0
    seats = ServiceUnderTest(path, Seats.spec(refuse))
    recorder.acknowledge(0)
    for turn in range(TURNS):
        if turn % (TURNS // OPENINGS) == 0:
            seats.restart()
            _weaken(sqlite(seats.service.db), synchronous)
        new = range(steps, steps + chance.randint(1, 5))
        old = chance.sample(range(steps), min(steps, chance.randint(0, 2)))
        steps = new.stop
        told = [seats.do(TakeSeat(f"n{step}"), step=f"s{step}") for step in new]
        replies = seats.tell(*told, *(seats.undo(f"s{step}") for step in old))
        assert len(replies) == len(new) + len(old)
        states.append(_rows(seats.service.db))
        recorder.acknowledge(len(states) - 1)
    seats.stop()
    return states


def _rows(db: Any) -> Rows:
    effects = db.execute("select what, name from effects order by id").fetchall()
    return effects, db.execute("select step, state from amends_fence order by step").fetchall()


def _judge_service(folder: Path, image: Image, states: list[Rows]) -> str:
    with closing(open_file(folder / "seats.db", Seats.scripts())) as db:
        found = _rows(db)
    effects, fence = found
    # Whichever turns are there: of every step the row and what it stands for are there together, or neither is.
    wanted = [("seat", f"n{step[1:]}") for step, state in fence if state in ("done", "undone") and step[-1] != "7"]
    wanted += [("free seat", f"n{step[1:]}") for step, state in fence if state == "undone" and step[-1] != "7"]
    if sorted(effects) != sorted(wanted):
        return "torn"
    return _verdict(states.index(found) if found in states else None, image.promised)


# The tests.

Check = Callable[..., Findings]


@pytest.mark.parametrize("check", [check_power_loss, check_power_loss_of_service])
def test_a_power_cut_loses_nothing_that_was_promised(tmp_path: Path, nobody_left: None, check: Check) -> None:
    """Every image opens, holds every commit that was acknowledged, and is what some number of whole commits made."""
    findings = check(tmp_path, 300, seed=1)
    assert findings.problems == []
    assert findings.verdicts["ok"] == 300


def test_a_power_cut_while_the_file_is_made(tmp_path: Path) -> None:
    """Whatever is left of a journal that was never open opens as a new one."""
    findings = check_power_loss_at_birth(tmp_path, 15, seed=4)
    assert findings.problems == []


def test_a_power_cut_while_the_file_is_mended(tmp_path: Path) -> None:
    """Whenever it comes, the next opening finds all that was there before."""
    findings = check_power_loss_in_a_salvage(tmp_path, 3, seed=1)
    assert findings.problems == []
    assert findings.verdicts["ok"] > 50


@pytest.mark.parametrize("check", [check_power_loss, check_power_loss_of_service])
@pytest.mark.parametrize("synchronous", ["normal", "off"])
def test_syncing_less_is_found(tmp_path: Path, nobody_left: None, check: Check, synchronous: str) -> None:
    """The canary: with a connection that is content with less, commits that were acknowledged are gone."""
    findings = check(tmp_path, 60, seed=1, synchronous=synchronous)
    assert findings.verdicts["lost"] > 0, findings.verdicts
