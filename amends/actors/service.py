"""Service: the base of every service, and what it gets for free.

A service is one actor with one database. It is asked to do, undo or resolve steps; handlers
declared with `@handles` and `@undoes` do the work. What a turn was told is served in one
transaction when the turn settles, and no answer leaves before its commit; how, is `serving`'s
business, and what a saga makes of an answer not the service's.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from amends.actors.asking import Question, collect_queries
from amends.actors.database.port import Database
from amends.actors.database.scripts import Migrations, Scripts, by_dialect
from amends.actors.fence_sql import SCRIPTS
from amends.actors.handlers import Handler, collect
from amends.actors.outside import OutsideAnswer, UnderWay
from amends.actors.serving import Serving
from amends.actors.transport.port import Transport
from amends.protocol.errors import AmendsError, DatabaseError, HandlerError, StorageError
from amends.protocol.messages import IdempotencyKey, Message
from amends.supervisor.actor import Actor

_PRUNE_EVERY_S = 60.0
_PRUNE_LIMIT = 1000
_AGAIN_S = 1.0
_GIVEN = ("key", "again", "in_hand")


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service and the arguments of its constructor; each incarnation is made from it."""

    service: "type[Service]"
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    def make(self) -> "Service":
        """One incarnation."""
        return self.service(*self.arguments, **dict(self.keywords))


@dataclass(frozen=True, slots=True)
class ServiceHome:
    """What a system gives each of its services.

    Attributes:
        open_database: opens the service's database, once for each incarnation.
        retention_s: how long the fence remembers a step, in seconds.
        under_way: the calls outside that run now.
    """

    open_database: Callable[[], Database]
    transport: Transport
    retention_s: float
    under_way: UnderWay = field(default_factory=UnderWay)


class Service(Actor):
    """The base of every service.

    Class keywords:
        name: what plans and logs call it.
        migrations: SQL scripts of its own tables, in order; where SQLite and PostgreSQL differ,
            `{"sqlite": [...], "postgres": [...]}`; see `sql_files`.
        handler_timeout_s: a handler that runs for longer has hung, and the service is restarted without it.

    Attributes:
        db: the service's database, in a transaction while a handler runs.
    """

    name: ClassVar[str]
    migrations: ClassVar[Migrations] = by_dialect("Service", ())
    handler_timeout_s: ClassVar[float] = 5.0
    handlers: ClassVar[dict[str, Handler]] = {}
    queries: ClassVar[dict[type, Callable[..., Any]]] = {}
    db: Database
    # Why its database could not be reached when nothing else was to be done.
    _unreached = ""
    # It was away in a turn, and has not been looked for since.
    _was_away = False

    def __init_subclass__(
        cls,
        *,
        name: str,
        migrations: Sequence[str] | Mapping[str, Sequence[str]] = (),
        handler_timeout_s: float = 5.0,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        if not name.replace("-", "").replace("_", "").isalnum():
            raise HandlerError(f"{cls.__name__}: name is {name!r}, wanted letters, digits, '-' and '_'")
        taken = [n for n in vars(cls) if n.startswith("_") and not n.startswith("__") and hasattr(Service, n)]
        if taken:
            raise HandlerError(f"{cls.__name__}: {taken} are names that Service uses itself; choose others")
        hidden = [n for n in _GIVEN if n in vars(cls)]
        if hidden:
            raise HandlerError(f"{cls.__name__}: {hidden} are what Service gives to handlers; choose other names")
        cls.name, cls.handler_timeout_s = name, handler_timeout_s
        cls.migrations = by_dialect(f"service {name!r}", migrations)
        cls.handlers = collect(cls, _callers_names())
        cls.queries = collect_queries(cls)

    @classmethod
    def spec(cls, *arguments: Any, **keywords: Any) -> ServiceSpec:
        """This service with the arguments of its constructor, for `System(services=[...])`."""
        return ServiceSpec(cls, arguments, tuple(keywords.items()))

    @property
    def key(self) -> IdempotencyKey:
        """The step in hand, while a handler or an undo runs in the service's turn."""
        return self.in_hand.key

    @property
    def in_hand(self) -> Message:
        """What a handler or an undo runs for, in the service's turn."""
        message = self._serving.running.in_hand
        if message is None:
            raise AmendsError(f"service {self.name!r}: no step is in hand; a call outside is given its key")
        return message

    def again(self, key: IdempotencyKey) -> None:
        """Run the handler, or the undo, of a step that answered `Later` once more, right after the one that runs now.

        It is served in the same transaction, if the one that runs now answers `Done` or `Later`. Nothing happens if
        that step does not wait.
        """
        _ = self.in_hand
        self._serving.later.wake(key)

    @classmethod
    def scripts(cls) -> Scripts:
        """The migrations of its database, by owner."""
        return {"fence": SCRIPTS, "service": cls.migrations}

    def settle_in(self, home: ServiceHome) -> None:
        """Called by the system before the first turn."""
        self._home = home

    def on_start(self) -> None:
        self.db = self._home.open_database()
        self._serving = Serving(self, self.db, self.handlers, self._home.transport, self._home.under_way)
        self._told: list[Message | OutsideAnswer] = []
        # By their places among the turn's letters.
        self._asked: dict[int, Question] = {}
        self._prune_due_s = self.clock.now_s() + _PRUNE_EVERY_S
        self.wakes_at_s = min(self._prune_due_s, self._serving.wakes_at_s)

    @property
    def blocked(self) -> str:
        serving: Serving | None = self.__dict__.get("_serving")
        return "" if serving is None else serving.blocked or self._unreached

    def let_go(self, *, hung: bool) -> None:
        if "db" not in self.__dict__:
            return
        if hung:
            self.db.abandon()
        else:
            self.db.close()

    def resumes(self, message: object) -> bool:
        # A saga asks again, and everybody else is served first. What a call outside came back with is only here.
        return isinstance(message, OutsideAnswer)

    def came_back(self) -> None:
        self.let_go(hung=False)

    def on_stop(self) -> None:
        self.db.close()

    def on_receive(self, message: Message | OutsideAnswer | Question) -> None:
        if isinstance(message, Question):
            self._asked[len(self._told) + len(self._asked)] = message
        else:
            self._told.append(message)

    def settle(self) -> None:
        asked, now_s = self._asked, self.clock.now_s()
        if self._told or now_s >= self._serving.wakes_at_s:
            told, self._told = self._told, []
            letters = range(len(told) + len(asked))
            self._serving.serve(told, [place for place in letters if place not in asked] if asked else letters)
            if self._serving.blocked and self.db.is_away:
                # Perhaps nobody asks again, so it is looked for.
                self._was_away, self._prune_due_s = True, now_s + _AGAIN_S
        if asked:
            self._asked = {}
            for place, question in asked.items():
                self.address.take_up(self, place)
                if question.is_wanted:
                    question.answer(self)
        if now_s >= self._prune_due_s:
            self._prune()
        self.wakes_at_s = min(self._prune_due_s, self._serving.wakes_at_s)

    def _prune(self) -> None:
        """Forget old steps, a batch a turn, until none is left."""
        forgotten = 0
        later = [name for name, handler in self.handlers.items() if handler.later]
        before_at = self.clock.now_at() - self._home.retention_s
        try:
            self.db.begin()
            forgotten = self._serving.fence.prune(before_at, _PRUNE_LIMIT, later)
            self.db.commit()
            self._unreached = ""
            if self._was_away:
                self._was_away, self._serving.blocked = False, ""
        except (DatabaseError, StorageError) as error:
            self.db.rollback()  # what can't be forgotten now is forgotten the next time
            self._unreached = str(error)
        wait_s = 0.0 if forgotten == _PRUNE_LIMIT else _AGAIN_S if self._unreached else _PRUNE_EVERY_S
        self._prune_due_s = self.clock.now_s() + wait_s


def _callers_names() -> dict[str, Any]:
    """The local names where a service's class statement stands; Pykka's metaclass, from `abc`, stands in between."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") == "abc":
        frame = frame.f_back
    return dict(frame.f_locals)
