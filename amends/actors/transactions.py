"""Transactions: each turn of a service is one, and what becomes of a turn when that can't be had.

Handlers run without savepoints first, and beside the turns of other processes. If one wrote something
for nothing, or a statement's error took the transaction with it, the turn is run again with
care; if others were in the way, it is run again alone, so it can't go on like that for ever. A
commit of which nobody knows whether it happened is asked about in the only way that is sure: the
turn is run once more, and the fence, which is read under the same locks, says what is done
already. Only if that can't be had either does the turn stay in doubt.
"""

from collections.abc import Callable, Sequence
from typing import Final

from amends.actors.database.port import Aborted, Conflict, Database, InDoubt
from amends.actors.running import Running, WroteForNothing
from amends.protocol.errors import AmendsError, DatabaseError, StorageError
from amends.protocol.retry import Retry, backoff_s
from amends.supervisor.runtime import Clock

TRIES_MAX: Final = 5
"""How often a turn is run in all."""

_AWAY: Final = Retry(base_s=0.1, cap_s=2.0)


class TurnLost(AmendsError):  # noqa: N818 - reads as the fact it reports
    """The turn's transaction is gone, with everything in it; or nobody knows, if it is `in_doubt`."""

    def __init__(self, reason: str, *, in_doubt: bool) -> None:
        super().__init__(reason)
        self.in_doubt = in_doubt


class Transactions:
    """Those of one incarnation of a service.

    Args:
        forget: called after a transaction of which nothing stays, so that nothing of it is remembered.
    """

    def __init__(self, db: Database, running: Running, clock: Clock, forget: Callable[[], None]) -> None:
        self._db = db
        self._running = running
        self._clock = clock
        self._forget = forget
        # A database that is away: how often it was in a row, why, and when it is tried again.
        self._failures, self._reason, self._not_before_s = 0, "", 0.0

    def run(self, names: Sequence[str], work: Callable[[], None], *, once: bool) -> None:
        """Work in a transaction, and commit; TurnLost if that can't be.

        Args:
            names: of those with a common name one runs at a time, in all processes.
            once: the work can't be done a second time.
        """
        careful = alone = once
        in_doubt = False
        reason: AmendsError = WroteForNothing()
        for _ in range(1 if once else TRIES_MAX):
            try:
                self._begin(names, alone=alone, careful=careful)
                self._running.careful = careful
                work()
                self._db.commit()
            except InDoubt as error:
                in_doubt, reason = True, error
            except Conflict as error:
                alone, reason = True, error
            except (WroteForNothing, Aborted) as error:
                if careful:
                    raise self._lost(error, in_doubt=in_doubt) from error
                careful, reason = True, error
            except (DatabaseError, StorageError) as error:
                raise self._lost(error, in_doubt=in_doubt) from error
            else:
                return
            self.roll_back()
        raise self._lost(reason, in_doubt=in_doubt) from reason

    def roll_back(self) -> None:
        """Nothing of what was begun has happened."""
        self._forget()
        self._db.rollback()

    def _lost(self, error: AmendsError, *, in_doubt: bool) -> TurnLost:
        self.roll_back()
        return TurnLost(str(error), in_doubt=in_doubt)

    def _begin(self, names: Sequence[str], *, alone: bool, careful: bool) -> None:
        if self._db.is_away and self._clock.now_s() < self._not_before_s:
            raise DatabaseError(self._reason, "")
        try:
            self._db.begin(names, alone=alone, careful=careful)
        except (DatabaseError, StorageError) as error:
            if self._db.is_away:
                self._failures += 1
                self._reason = str(error)
                self._not_before_s = self._clock.now_s() + backoff_s(_AWAY, self._failures, self._clock.chance())
            raise
        self._failures = 0
