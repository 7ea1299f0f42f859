"""The pool runtime: many actors, one thread.

A mailbox with something to read stands in one queue until the thread gives its actor a turn.
It is woken once per burst: a mailbox is queued at most once. A second thread would bring nothing under the GIL but
hand-offs. It is a daemon, so a program that ends without a word still ends.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from amends.supervisor.baton import Baton
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Clock

_NEVER: Final = float("inf")


def run_outside(call: Callable[[], None]) -> None:
    """Run a call that waits on the world outside in a thread of its own."""
    threading.Thread(target=call, name="amends-outside", daemon=True).start()


class Pool:
    """A thread that gives turns to any number of actors.

    Args:
        clock: the time and chance its actors see.
        name: of its thread.
        baton: what the thread has while it runs turns; its own if it is to run beside all others.
    """

    def __init__(self, clock: Clock, name: str = "amends-pool", baton: Baton | None = None) -> None:
        self.clock = clock
        self._name = name
        self._baton = baton or Baton()
        self._ready: SimpleQueue[Mailbox | None] = SimpleQueue()
        self._alarms: dict[Mailbox, float] = {}
        # No alarm is due before; written by the thread alone.
        self._soonest_s = _NEVER
        self._thread: threading.Thread | None = None
        self._in_turn: Mailbox | None = None
        self._stopping = False
        self._starting = threading.Lock()

    def ready(self, mailbox: Mailbox) -> None:
        self._ready.put(mailbox)
        if self._thread is None:
            self._start_thread()

    def replace(self, mailbox: Mailbox) -> None:
        if self._in_turn is mailbox:
            self._in_turn = self._thread = None
            self._start_thread()

    def in_turn(self) -> list[Mailbox]:
        mailbox = self._in_turn
        return [] if mailbox is None else [mailbox]

    def release(self, mailbox: Mailbox) -> None:
        self._alarms.pop(mailbox, None)

    def outside(self, call: Callable[[], None]) -> None:
        run_outside(call)

    def stop(self, timeout_s: float) -> bool:
        self._stopping = True
        with self._starting:  # a thread that is just being started can't be waited for
            thread = self._thread
        if thread is None:
            return True
        self._ready.put(None)
        if thread is not threading.current_thread():
            thread.join(timeout_s)
        return not thread.is_alive()

    def _start_thread(self) -> None:
        with self._starting:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        self._baton.carry()
        try:
            while not self._stopping:
                mailbox = self._next()
                if mailbox is None:
                    continue
                self._in_turn = mailbox
                if not mailbox.run_turn():
                    return  # `replace` has another thread at work
                self._in_turn = None
                self._set_alarm(mailbox)
        finally:
            self._baton.drop()

    def _set_alarm(self, mailbox: Mailbox) -> None:
        actor = mailbox.actor
        if actor is not None and actor.wakes_at_s is not None:
            self._alarms[mailbox] = actor.wakes_at_s
            self._soonest_s = min(self._soonest_s, actor.wakes_at_s)
        elif self._alarms:
            self._alarms.pop(mailbox, None)

    def _next(self) -> Mailbox | None:
        """The next mailbox to serve; one whose alarm is due comes before all others."""
        if self._soonest_s != _NEVER and self.clock.now_s() >= self._soonest_s:
            self._ring()
        if self._ready.empty():
            self._baton.drop()
            mailbox = self._wait()
        else:
            mailbox = self._ready.get()
        self._baton.take()
        return mailbox

    def _wait(self) -> Mailbox | None:
        if self._soonest_s == _NEVER:
            return self._ready.get()
        try:
            return self._ready.get(timeout=max(0.0, self._soonest_s - self.clock.now_s()))
        except Empty:
            return None

    def _ring(self) -> None:
        """Ask for a turn of the mailbox whose alarm comes first, if it is due, and see when the next one is."""
        # A copy, since whoever closes a mailbox takes its alarm away from another thread; it may have been the last.
        alarms = sorted(self._alarms.copy().items(), key=lambda alarm: alarm[1])
        self._soonest_s = _NEVER
        now_s = self.clock.now_s()
        for mailbox, at_s in alarms:
            if at_s > now_s:
                self._soonest_s = at_s
                return
            self._alarms.pop(mailbox, None)
            mailbox.notify()
