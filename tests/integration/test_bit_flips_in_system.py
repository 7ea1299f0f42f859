"""A bit that flips under a system at rest: the next opening puts that instance aside, says so, and runs the others."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amends import AmendsError, Completed, JournalUnavailable, Unavailable
from amends.protocol.messages import SagaId
from tests.actors.conftest import OpenSystem
from tests.actors.trip import COMPLETED, LONG_S, BookTrip, Script, Trip, effects, rows_of
from tests.integration.bit_flips import PAGE, flipped, trees
from tests.integration.program import names

TRIPS = 6
VICTIM = "trip-2"


def _stop_while_open(booking: OpenSystem) -> dict[str, SagaId]:
    """Stop while every trip waits for its ticket, which is after its decision; the instances by name."""
    asked = dict.fromkeys(names(TRIPS), 0)

    def out_of_paper(service: object, name: str) -> Unavailable:
        asked[name] += 1
        return Unavailable("no paper")

    system = booking(Script(ticket=out_of_paper))
    ids = {name: system.start(BookTrip, Trip(name), key=name).saga_id for name in asked}
    # A trip that is asked for again has forced its decision, and all it knew before, to disk.
    while min(asked.values()) < 2:
        system.status()
    system.stop()
    return ids


def _bits_of(folder: Path, tree: str, text: str, characters: slice = slice(None)) -> Iterator[int]:
    """Every bit of these characters wherever a text stands in a tree's pages, what was left behind there included."""
    content = (folder / "journal.db").read_bytes()
    for page in trees(folder / "journal.db")[tree]:
        for place in range(page, page + PAGE):
            if content.startswith(text.encode(), place):
                for byte in range(place, place + len(text))[characters]:
                    yield from range(byte * 8, byte * 8 + 8)


def _flip_one(folder: Path, bits: Iterator[int], works: Callable[[], bool]) -> None:
    """Flip the first bit that has the effect that is wanted."""
    journal = folder / "journal.db"
    sound = journal.read_bytes()
    for bit in bits:
        journal.write_bytes(flipped(sound, bit))
        if works():
            return
    raise AssertionError("no bit has that effect")


def _body(folder: Path, saga_id: str, seq: int) -> str:
    query = "select cast(body as blob) from records where saga_id = ? and seq = ?"
    return bytes(rows_of(folder / "journal.db", query, saga_id, seq)[0][0]).decode(errors="replace")


def _count(folder: Path, query: str, *values: object) -> int:
    """How many rows there are; -1 if they can't be read."""
    try:
        return int(rows_of(folder / "journal.db", f"select count(*) from ({query})", *values)[0][0])
    except Exception:  # noqa: BLE001 - a damaged file may answer anything
        return -1


@pytest.mark.parametrize("seed", range(5))
def test_a_flip_in_a_record(tmp_path: Path, booking: OpenSystem, seed: int) -> None:
    """The instance is quarantined and reported, whoever asks for it gets an error, and all others run to their end."""
    ids = _stop_while_open(booking)
    seq = seed % 4  # Started, two results, the decision
    sound = _body(tmp_path, ids[VICTIM], seq)
    bits = [
        place * 8 + bit
        for place in _places_of_body(tmp_path, ids[VICTIM], sound)
        for bit in random.Random(seed).sample(range(len(sound.encode()) * 8), 20)
        if bit % 8 < 7  # else it is no text any more, which is found before any checksum is looked at
    ]
    _flip_one(tmp_path, iter(bits), lambda: _body(tmp_path, ids[VICTIM], seq) != sound)
    system = booking()
    with pytest.raises(AmendsError, match=f"{ids[VICTIM]}, record {seq}: checksum") as refused:
        system.start(BookTrip, Trip(VICTIM), key=VICTIM)
    assert not isinstance(refused.value, JournalUnavailable)
    system.drain(LONG_S)
    status = system.status()
    assert (status.completed, status.open, status.quarantined) == (TRIPS - 1, 0, 1), f"seed {seed}"
    assert list(status.unreadable) == [ids[VICTIM]]
    assert rows_of(tmp_path / "journal.db", "select key from instances where state = 'quarantined'") == [(VICTIM,)]
    assert all(effects(tmp_path, name) == COMPLETED for name in ids if name != VICTIM)


def _places_of_body(folder: Path, saga_id: str, body: str) -> list[int]:
    """Where the bytes of a body stand after their instance's id: the record, and what copies of it were left."""
    content = (folder / "journal.db").read_bytes()
    starts = {bit // 8 for bit in _bits_of(folder, "records", saga_id)}
    return sorted({place for start in starts if (place := content.find(body.encode(), start, start + 300)) > 0})


def test_a_flip_that_hides_a_decision(tmp_path: Path, booking: OpenSystem) -> None:
    """A record whose key has flipped is put back where it belongs, and its instance runs on with all that it knew."""
    ids = _stop_while_open(booking)
    query = "select seq from records where saga_id = ?"
    bits = _bits_of(tmp_path, "records", ids[VICTIM])
    _flip_one(tmp_path, bits, lambda: _count(tmp_path, query, ids[VICTIM]) in (1, 2, 3))
    _all_end(tmp_path, booking)


def _all_end(folder: Path, booking: OpenSystem) -> None:
    """Every trip goes on where it stopped and is completed, each effect once."""
    system = booking()
    system.drain(LONG_S)
    status = system.status()
    assert (status.completed, status.open, status.quarantined, status.restarts) == (TRIPS, 0, 0, 0)
    assert all(effects(folder, name) == COMPLETED for name in names(TRIPS))
    assert (folder / "journal.db.damaged").exists()


def test_a_flip_in_a_key(tmp_path: Path, booking: OpenSystem) -> None:
    """What was started once under a key is not started again."""
    system = booking()
    for name in names(TRIPS):
        system.start(BookTrip, Trip(name), key=name).result(LONG_S)
    system.stop()
    query = "select 1 from instances indexed by sqlite_autoindex_instances_2 where saga = 'book-trip' and key = ?"
    bits = _bits_of(tmp_path, "sqlite_autoindex_instances_2", VICTIM)
    _flip_one(tmp_path, bits, lambda: _count(tmp_path, query, VICTIM) == 0)
    assert isinstance(booking().run(BookTrip, Trip(VICTIM), key=VICTIM, timeout_s=LONG_S), Completed)
    assert effects(tmp_path, VICTIM) == COMPLETED


def test_a_flip_that_hides_an_open_instance(tmp_path: Path, booking: OpenSystem) -> None:
    """An open instance that is not listed as one any more goes on all the same."""
    ids = _stop_while_open(booking)
    # The last characters of ids tell little of their order, so the index is still sorted, and usable.
    _flip_one(tmp_path, _bits_of(tmp_path, "open_instances", ids[VICTIM], slice(-1, None)), _hidden(tmp_path, ids))
    _all_end(tmp_path, booking)


def test_a_flip_that_takes_an_index_out_of_order(tmp_path: Path, booking: OpenSystem) -> None:
    """An index that leads astray is made anew before anybody uses it."""
    ids = _stop_while_open(booking)
    _flip_one(tmp_path, _bits_of(tmp_path, "open_instances", ids[VICTIM], slice(1)), _hidden(tmp_path, ids))
    _all_end(tmp_path, booking)


def _hidden(folder: Path, ids: dict[str, SagaId]) -> Callable[[], bool]:
    query = "select 1 from instances indexed by open_instances where state = 'open' and saga_id = ?"
    return lambda: _count(folder, query, ids[VICTIM]) == 0


def test_a_flip_that_leaves_no_text_in_the_list_of_open_instances(tmp_path: Path, booking: OpenSystem) -> None:
    """So is one whose entries can't even be read."""
    ids = _stop_while_open(booking)
    query = "select saga_id from instances indexed by open_instances where state = 'open'"
    bits = (bit for bit in _bits_of(tmp_path, "open_instances", ids[VICTIM], slice(-1, None)) if bit % 8 == 7)
    _flip_one(tmp_path, bits, lambda: not _is_text(tmp_path, query))
    _all_end(tmp_path, booking)


def _is_text(folder: Path, query: str) -> bool:
    try:
        return bool(rows_of(folder / "journal.db", query))
    except UnicodeDecodeError:
        return False


def test_a_flip_under_an_open_system(tmp_path: Path, booking: OpenSystem) -> None:
    """What can't be read any more ends the journal's actor, and the next one mends the file and goes on."""
    ids = _stop_while_open(booking)
    system = booking(Script(ticket=lambda service, name: Unavailable("no paper")))
    while not system.status().recovered:
        pass
    journal = tmp_path / "journal.db"
    rows_of(journal, "pragma wal_checkpoint(truncate)")
    with journal.open("r+b") as file:
        for page in trees(journal)["sqlite_autoindex_instances_2"]:
            file.seek(page)
            file.write(bytes(PAGE))
    # Whoever else writes makes the journal's connection look at the file again.
    rows_of(journal, "update grants set token = token")
    assert system.start(BookTrip, Trip(VICTIM), key=VICTIM).saga_id == ids[VICTIM]
    assert system.status().restarts > 0
    assert (tmp_path / "journal.db.damaged").exists()
