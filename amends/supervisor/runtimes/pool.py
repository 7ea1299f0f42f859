"""The pool runtime: many actors, few threads.

A mailbox with something to read stands in one queue until a thread gives its actor a turn.
Threads are woken once per burst: a mailbox is queued at most once. They are daemons, so a
program that ends without a word still ends.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Clock


def run_outside(call: Callable[[], None]) -> None:
    """Run a call that waits on the world outside in a thread of its own."""
    threading.Thread(target=call, name="amends-outside", daemon=True).start()


class Pool:
    """A fixed number of threads that give turns to any number of actors.

    Args:
        clock: the time and chance its actors see.
        name: of its threads.
        size: number of threads. Under the GIL more than one or two bring nothing but hand-offs.
    """

    def __init__(self, clock: Clock, name: str = "amends-pool", size: int = 1) -> None:
        self.clock = clock
        self._name = name
        self._size = size
        self._ready: SimpleQueue[Mailbox | None] = SimpleQueue()
        self._alarms: dict[Mailbox, float] = {}
        self._threads: set[threading.Thread] = set()
        self._in_turn: dict[threading.Thread, Mailbox | None] = {}
        self._stopping = False
        self._starting = threading.Lock()

    def ready(self, mailbox: Mailbox) -> None:
        self._ready.put(mailbox)
        if len(self._threads) < self._size:
            self._start_threads()

    def replace(self, mailbox: Mailbox) -> None:
        for thread, in_turn in list(self._in_turn.items()):
            if in_turn is mailbox:
                del self._in_turn[thread]
                self._threads.discard(thread)
        self._start_threads()

    def in_turn(self) -> list[Mailbox]:
        return [mailbox for mailbox in list(self._in_turn.values()) if mailbox is not None]

    def release(self, mailbox: Mailbox) -> None:
        self._alarms.pop(mailbox, None)

    def outside(self, call: Callable[[], None]) -> None:
        run_outside(call)

    def stop(self, timeout_s: float) -> bool:
        self._stopping = True
        with self._starting:  # a thread that is just being started can't be waited for
            threads = list(self._threads)
        for _ in threads:
            self._ready.put(None)
        until = self.clock.now_s() + timeout_s
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - self.clock.now_s()))
        return not any(thread.is_alive() for thread in threads)

    def _start_threads(self) -> None:
        with self._starting:
            while len(self._threads) < self._size and not self._stopping:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()

    def _work(self) -> None:
        me = threading.current_thread()
        while not self._stopping:
            mailbox = self._next()
            if mailbox is None:
                continue
            self._in_turn[me] = mailbox
            if not mailbox.run_turn():
                return  # `replace` has another thread at work
            self._in_turn[me] = None
            actor = mailbox.actor
            if actor is not None and actor.wakes_at_s is not None:
                self._alarms[mailbox] = actor.wakes_at_s
            elif mailbox in self._alarms:
                self._alarms.pop(mailbox, None)

    def _next(self) -> Mailbox | None:
        """The next mailbox to serve; one whose alarm is due comes before all others."""
        if not self._alarms:
            return self._ready.get()
        now_s = self.clock.now_s()
        # A copy, since whoever closes a mailbox takes its alarm away from another thread; it may have been the last.
        mailbox, at_s = min(self._alarms.copy().items(), key=lambda alarm: alarm[1], default=(None, 0.0))
        if mailbox is None:
            return None
        if at_s <= now_s:
            self._alarms.pop(mailbox, None)
            mailbox.notify()
            return None
        try:
            return self._ready.get(timeout=at_s - now_s)
        except Empty:
            return None
