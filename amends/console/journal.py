"""What a journal tells, read while systems run on it, or not.

Each call sees one moment of it, and what is on disk may be a little behind what happens. Of a journal
in a file SQLite leaves an empty `-wal` and a `-shm` file beside it where no system runs, which the
next one takes away; a folder that can't be written can't be read.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from amends.actors.journal.store import Instance, verify
from amends.console.progress import Fold, Plans, Progress
from amends.console.reading import Reading, reading
from amends.console.timings import SagaTotals, Timings, timings_of
from amends.protocol import codec
from amends.protocol.errors import AmendsError, RecordCorrupt
from amends.protocol.saga import Saga

STATES: Final = ("open", "completed", "compensated", "quarantined")


def progress(
    where: Path | str,
    *,
    key: str | None = None,
    saga: str | None = None,
    saga_id: str | None = None,
    sagas: Sequence[type[Saga]] = (),
) -> Progress | None:
    """How far an instance has come; None if the journal has no such instance.

    Args:
        where: the journal's file, the system's folder, or the journal's URL.
        key, saga: the instance's key, and the name of its saga where several use that key.
        saga_id: instead of the key.
        sagas: the classes, if they are at hand; with them times are exact, and steps not reached yet are listed.

    Raises StorageError if the file can't be read, AmendsError if the key belongs to instances of several sagas.
    """
    if (key is None) == (saga_id is None):
        raise AmendsError(f"progress: key is {key!r} and saga_id is {saga_id!r}; wanted one of them")
    with reading(where) as read:
        found = read.instances("saga_id = ?", [saga_id]) if key is None else read.of_key(key, saga)
        if len(found) > 1:
            names = [instance.saga for instance in found]
            raise AmendsError(f"key {key!r}: belongs to instances of the sagas {names}; name one of them with saga=")
        return _progress(read, found[0], _plans(sagas)) if found else None


def instances(
    where: Path | str,
    *,
    state: str | None = None,
    saga: str | None = None,
    key: str | None = None,
    limit: int = 100,
) -> list[Instance]:
    """The instances that are in `state`, of `saga` and of `key`, each where it is given; newest first."""
    if state is not None and state not in STATES:
        raise AmendsError(f"instances: state is {state!r}, wanted one of {list(STATES)}")
    with reading(where) as read:
        if key is not None:
            found = [i for i in read.of_key(key, saga) if state in (None, i.state)]
            return sorted(found, reverse=True)[:limit]
        wanted = {name: value for name, value in (("state", state), ("saga", saga)) if value is not None}
        condition = " and ".join(f"{name} = ?" for name in wanted) or "true"
        # An id sorts after all earlier ones.
        return read.instances(f"{condition} order by saga_id desc limit ?", [*wanted.values(), limit])


def timings(where: Path | str, *, sagas: Sequence[type[Saga]] = ()) -> Timings:
    """How long sagas and their steps take, what fails and why, over the whole journal.

    Args:
        where: the journal's file, the system's folder, or the journal's URL.
        sagas: the classes, if they are at hand; with them the times of steps are exact.

    It reads every record once, without looking at checksums. While that takes, a running system goes on, but its
    write-ahead log grows.
    """
    plans = _plans(sagas)
    totals: dict[str, SagaTotals] = {}
    with reading(where) as read:
        skipped = {instance.saga_id for instance in read.instances("state = 'quarantined'", [])}
        unreadable = len(skipped)
        for saga_id, history in groupby(read.records(), key=lambda row: row[0]):
            if saga_id in skipped:
                continue
            fold = Fold(plans)
            try:
                for _, seq, at, schema, body in history:
                    fold.add(at, codec.decode_record(saga_id, seq, schema, body))
                if fold.started is not None:
                    totals.setdefault(fold.started.saga, SagaTotals()).add(fold)
            except (AmendsError, TypeError, ValueError):  # a damaged row may give values of other types
                unreadable += 1
        counts = [(str(name), str(state), int(count)) for name, state, count in read.counts()]
        return timings_of(totals, counts, unreadable)


def _plans(sagas: Sequence[type[Saga]]) -> Plans:
    return {(saga.plan.name, saga.plan.version): saga.plan for saga in sagas}


def _progress(read: Reading, instance: Instance, plans: Plans) -> Progress:
    fold = Fold(plans)
    try:
        history = read.history(instance.saga_id)
    except UnicodeDecodeError as error:
        return fold.progress(instance, f"its records can't be read: {error}")
    try:
        verify(instance.saga_id, history)
        sound, damage = len(history), ""
    except RecordCorrupt as error:
        sound, damage = error.seq, str(error)
    try:
        for stored in history[:sound]:
            record = codec.decode_record(stored.saga_id, stored.seq, stored.schema, stored.body.encode())
            fold.add(stored.at, record)
    except AmendsError as error:
        damage = str(error)
    return fold.progress(instance, damage or _disagreement(instance, fold))


def _disagreement(instance: Instance, fold: Fold) -> str:
    """What the list of instances says otherwise than the history; checksums can't tell a lost end."""
    told = "open" if fold.ended is None else "completed" if fold.ended.completed else "compensated"
    if instance.state in ("quarantined", told):
        return ""
    return f"instance {instance.saga_id}: is listed as {instance.state}, its records tell that it is {told}"
