"""What we lean on in Pykka, apart from what its documentation promises.

The actors here are made of Pykka alone and driven by hand, so a new Pykka that would break ours
fails in this file, under the name of what has changed.
"""

import inspect
import queue
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest
from pykka import messages

from amends.supervisor.actor import Actor, spawn
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.probe import Unlisted

calls: list[str] = []
"""What Pykka called, in order."""


class Left(Exception):  # noqa: N818 - a signal, as ours is
    """The inbox's private signal that there is no more to read in this turn."""


class Inbox:
    """All that Pykka asks of an inbox."""

    def __init__(self) -> None:
        self.envelopes: deque[Any] = deque()

    def put(self, envelope: Any, /) -> None:
        self.envelopes.append(envelope)

    def get(self) -> Any:
        if not self.envelopes:
            raise Left
        return self.envelopes.popleft()

    def empty(self) -> bool:
        return not self.envelopes


class Stopped:
    """All that Pykka asks of an actor's stop event."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


class Bare(pykka.Actor):
    """An actor whose loop somebody else runs; a message that can be called is called."""

    def __init__(self) -> None:
        calls.append("__init__")
        super().__init__()

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        calls.append("_create_actor_inbox")
        return Inbox()

    @staticmethod
    def _create_future() -> "pykka.Future[Any]":
        calls.append("_create_future")
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        listed = pykka.ActorRegistry.get_all() == [self.actor_ref]
        calls.append("_start_actor_loop while listed" if listed else "_start_actor_loop")

    def on_start(self) -> None:
        calls.append("on_start")

    def on_receive(self, message: Any) -> Any:
        calls.append("on_receive")
        return message() if callable(message) else message

    def on_stop(self) -> None:
        calls.append("on_stop")

    def on_failure(self, *facts: object) -> None:
        calls.append("on_failure")

    def _handle_failure(self, *facts: Any) -> None:
        calls.append("_handle_failure")
        super()._handle_failure(*facts)


def raise_(error: BaseException) -> Callable[[], None]:
    """A message, or a hook, that raises `error`."""

    def act(*_: object) -> None:
        raise error

    return act


@pytest.fixture
def actor() -> Iterator[Bare]:
    """A bare actor that is listed but has not run."""
    actor = Bare()
    pykka.ActorRegistry.register(actor.actor_ref)
    calls.clear()
    yield actor
    pykka.ActorRegistry.unregister(actor.actor_ref)


def run(actor: Bare) -> None:
    """Let Pykka's loop read all there is."""
    with pytest.raises(Left):
        actor._actor_loop_running()


# The extension points.


def test_a_new_kind_of_actor_has_these_three_extension_points() -> None:
    """Neither more nor fewer methods are abstract."""
    assert pykka.Actor.__abstractmethods__ == {"_create_actor_inbox", "_create_future", "_start_actor_loop"}


def test_an_actor_is_started_by_calling_them() -> None:
    """Inbox first, then the registry, and the loop last."""
    calls.clear()
    ref = Bare.start()
    assert calls == ["__init__", "_create_actor_inbox", "_start_actor_loop while listed"]
    pykka.ActorRegistry.unregister(ref)


def test_a_constructor_sets_these_attributes(mailbox: MakeMailbox) -> None:
    """Our actors don't call Pykka's constructor, so they have to set what it would."""
    pykkas = set(vars(Bare()))
    assert pykkas == {"actor_urn", "actor_inbox", "actor_stopped", "_actor_ref"}
    ours = spawn(mailbox(), lambda: Unlisted([]))
    assert ours.actor_ref is ours._actor_ref
    assert pykkas <= set(vars(ours))


@pytest.mark.parametrize(
    "name",
    [
        "_create_actor_inbox",
        "_create_future",
        "_start_actor_loop",
        "_handle_receive",
        "_handle_failure",
        "_stop",
        "on_start",
        "on_stop",
        "on_failure",
        "on_receive",
    ],
)
def test_what_we_override_or_are_overridden_in_has_the_same_parameters(name: str) -> None:
    """Pykka calls them, so a new parameter would reach ours too."""
    pykkas, ours = (list(inspect.signature(getattr(kind, name)).parameters) for kind in (pykka.Actor, Actor))
    assert pykkas == ours


def test_the_loop_consists_of_a_setup_and_a_running_part(monkeypatch: pytest.MonkeyPatch, actor: Bare) -> None:
    """Our turns call the first once and the second every time; Pykka would call the third once more."""
    for part in ("_actor_loop_setup", "_actor_loop_running", "_actor_loop_teardown"):
        monkeypatch.setattr(actor, part, lambda part=part: calls.append(part))
    actor._actor_loop()
    assert calls == ["_actor_loop_setup", "_actor_loop_running", "_actor_loop_teardown"]


# Setup.


def test_setup_calls_on_start_and_nothing_else(actor: Bare) -> None:
    """It reads no message."""
    actor.actor_ref.tell("waiting")
    actor._actor_loop_setup()
    assert calls == ["on_start"]


def test_a_failing_on_start_is_handled_and_on_failure_not_called(
    monkeypatch: pytest.MonkeyPatch, actor: Bare, caplog: pytest.LogCaptureFixture
) -> None:
    """So our keepers hear of it through `_handle_failure`."""
    monkeypatch.setattr(actor, "on_start", raise_(ValueError()))
    actor._actor_loop_setup()
    assert calls == ["_handle_failure"]
    assert actor.actor_stopped.is_set()


def test_what_is_no_exception_leaves_setup(monkeypatch: pytest.MonkeyPatch, actor: Bare) -> None:
    """So our turns have to catch it."""
    monkeypatch.setattr(actor, "on_start", raise_(SystemExit()))
    with pytest.raises(SystemExit):
        actor._actor_loop_setup()
    assert calls == []


# Running.


def test_the_loop_reads_until_the_actor_is_stopped(actor: Bare) -> None:
    """The question is asked before each message, and needs nothing but `is_set`."""
    actor.actor_stopped = Stopped()  # type: ignore[assignment]
    actor.actor_ref.tell("a")
    actor.actor_ref.tell(actor.actor_stopped.set)
    actor.actor_ref.tell("not read")
    actor._actor_loop_running()
    assert calls == ["on_receive", "on_receive"]
    assert not actor.actor_inbox.empty()


def test_a_private_exception_of_the_inbox_leaves_the_loop_and_nothing_else_happens(actor: Bare) -> None:
    """`get` is called outside the `try`: that is how our turns end."""
    actor.actor_ref.tell("a")
    run(actor)
    run(actor)
    assert calls == ["on_receive"]
    assert actor.actor_ref.is_alive()
    assert pykka.ActorRegistry.get_all() == [actor.actor_ref]


def test_a_failing_tell_calls_handle_failure_and_then_on_failure_and_ends_the_loop(
    actor: Bare, caplog: pytest.LogCaptureFixture
) -> None:
    """The actor is stopped and unlisted by `_handle_failure`; it reads no more."""
    actor.actor_ref.tell(raise_(ValueError()))
    actor.actor_ref.tell("not read")
    actor._actor_loop_running()
    assert calls == ["on_receive", "_handle_failure", "on_failure"]
    assert actor.actor_stopped.is_set()
    assert pykka.ActorRegistry.get_all() == []


def test_a_failing_on_failure_is_handled_too(
    monkeypatch: pytest.MonkeyPatch, actor: Bare, caplog: pytest.LogCaptureFixture
) -> None:
    """And what is no Exception leaves the loop, so our turns have to catch it."""
    monkeypatch.setattr(actor, "on_failure", raise_(ValueError()))
    actor.actor_ref.tell(raise_(ValueError()))
    actor._actor_loop_running()
    assert calls == ["on_receive", "_handle_failure", "_handle_failure"]
    monkeypatch.setattr(actor, "on_failure", raise_(SystemExit()))
    actor.actor_stopped.clear()
    actor.actor_ref.tell(raise_(ValueError()))
    with pytest.raises(SystemExit):
        actor._actor_loop_running()


def test_an_ask_is_answered_with_what_the_handler_returns(actor: Bare) -> None:
    """The reply is set by the loop, while the turn goes on."""
    answer = actor.actor_ref.ask("hello", block=False)
    run(actor)
    assert answer.get(timeout=0) == "hello"


def test_a_failing_ask_is_answered_with_the_error_and_leaves_the_actor_alive(actor: Bare) -> None:
    """No failure is handled; the loop reads on."""
    answer = actor.actor_ref.ask(raise_(ValueError("no")), block=False)
    actor.actor_ref.tell("read")
    run(actor)
    with pytest.raises(ValueError, match="no"):
        answer.get(timeout=0)
    assert calls == ["_create_future", "on_receive", "on_receive"]
    assert actor.actor_ref.is_alive()


def test_what_is_no_exception_stops_every_actor(monkeypatch: pytest.MonkeyPatch, actor: Bare) -> None:
    """So our handlers must let none through."""
    stopped: list[str] = []
    monkeypatch.setattr(pykka.ActorRegistry, "stop_all", lambda: stopped.append("all"))
    actor.actor_ref.tell(raise_(SystemExit()))
    actor._actor_loop_running()
    assert calls == ["on_receive", "on_stop"]
    assert stopped == ["all"]
    assert actor.actor_stopped.is_set()


def test_the_loop_reads_two_attributes_of_an_envelope(actor: Bare) -> None:
    """Our letters have them, with all that follows."""
    read: set[str] = set()

    class Envelope:
        def __getattr__(self, name: str) -> Any:
            read.add(name)
            return "hello" if name == "message" else None

    actor.actor_inbox.put(Envelope())  # type: ignore[arg-type]
    run(actor)
    assert read == {"message", "reply_to"}


@pytest.mark.parametrize("ask", [False, True])
def test_a_reference_puts_envelopes_with_these_attributes(actor: Bare, ask: bool) -> None:
    """Our mailboxes make letters of them."""
    if ask:
        future = actor.actor_ref.ask("hello", block=False)
    else:
        actor.actor_ref.tell("hello")
    envelope = actor.actor_inbox.get()
    assert envelope.message == "hello"
    assert envelope.reply_to is (future if ask else None)
    run(actor)


# References.


def test_a_reference_reads_these_attributes_of_an_actor() -> None:
    """It keeps what it read, so they have to be there when the reference is made."""
    read: set[str] = set()

    class Standing:
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return Stopped() if name == "actor_stopped" else super().__getattribute__(name)

        actor_urn = "urn:standing"
        actor_inbox = Inbox()

    ref: pykka.ActorRef[Any] = pykka.ActorRef(Standing())
    assert read == {"__class__", "actor_urn", "actor_inbox", "actor_stopped"}
    assert (ref.actor_urn, ref.actor_class) == ("urn:standing", Standing)
    assert ref.is_alive()


def test_a_reference_makes_the_future_of_an_ask_from_the_class(actor: Bare) -> None:
    """Without an instance, and before it looks whether the actor lives."""
    actor.actor_stopped.set()
    answer = actor.actor_ref.ask("hello", block=False)
    assert calls == ["_create_future"]
    with pytest.raises(pykka.ActorDeadError):
        answer.get(timeout=0)


def test_a_reference_to_a_stopped_actor_puts_nothing(actor: Bare) -> None:
    """An address can; a reference is to one incarnation."""
    actor.actor_stopped.set()
    with pytest.raises(pykka.ActorDeadError):
        actor.actor_ref.tell("late")
    assert actor.actor_inbox.empty()


def test_the_registry_lists_and_forgets(actor: Bare) -> None:
    """Once each, and to forget somebody twice is no error."""
    other = Bare().actor_ref
    pykka.ActorRegistry.register(other)
    assert pykka.ActorRegistry.get_all() == [actor.actor_ref, other]
    pykka.ActorRegistry.unregister(other)
    pykka.ActorRegistry.unregister(other)
    assert pykka.ActorRegistry.get_all() == [actor.actor_ref]


# Stopping.


def test_an_actor_is_stopped_by_a_message_of_its_own(actor: Bare) -> None:
    """From inside and from outside, and read like any other."""
    actor.stop()
    stopped = actor.actor_ref.stop(block=False)
    assert [type(envelope.message) for envelope in list(actor.actor_inbox.envelopes)] == [  # type: ignore[attr-defined]
        messages._ActorStop,
        messages._ActorStop,
    ]
    assert actor.actor_ref.is_alive()
    actor._actor_loop_running()
    assert calls == ["_create_future", "on_stop"]
    actor._actor_loop_teardown()
    assert stopped.get(timeout=0) is True


def test_stopping_unlists_sets_the_flag_and_then_calls_on_stop(monkeypatch: pytest.MonkeyPatch, actor: Bare) -> None:
    """In this order; the rest of the inbox is not read."""
    seen: list[tuple[bool, int]] = []
    monkeypatch.setattr(
        actor, "on_stop", lambda: seen.append((actor.actor_stopped.is_set(), len(pykka.ActorRegistry.get_all())))
    )
    actor.actor_ref.tell(messages._ActorStop())
    actor.actor_ref.tell("not read")
    actor._actor_loop_running()
    assert seen == [(True, 0)]
    assert not actor.actor_inbox.empty()


def test_a_failing_on_stop_is_handled_and_on_failure_not_called(
    monkeypatch: pytest.MonkeyPatch, actor: Bare, caplog: pytest.LogCaptureFixture
) -> None:
    """So our keepers hear of it through `_handle_failure`; what is no Exception passes."""
    monkeypatch.setattr(actor, "on_stop", raise_(ValueError()))
    actor._stop()
    assert calls == ["_handle_failure"]
    monkeypatch.setattr(actor, "on_stop", raise_(SystemExit()))
    with pytest.raises(SystemExit):
        actor._stop()


def test_a_stop_that_is_answered_with_a_dead_actor_says_so(actor: Bare) -> None:
    """So that is the error for whoever asks a closed mailbox."""
    stopped = actor.actor_ref.stop(block=False)
    reply_to = actor.actor_inbox.get().reply_to
    assert reply_to is not None
    reply_to.set_exception((pykka.ActorDeadError, pykka.ActorDeadError("closed"), None))
    assert stopped.get(timeout=0) is False


# What a handler gets.


def test_these_messages_are_pykkas_own() -> None:
    """All others are for `on_receive`; a new one in this list has to be handed to Pykka by our actors too."""
    kinds = {
        name for name, kind in vars(messages).items() if inspect.isclass(kind) and kind.__module__ == messages.__name__
    }
    assert kinds == {"_ActorStop", "ProxyCall", "ProxyGetAttr", "ProxySetAttr"}


def test_any_other_message_reaches_on_receive(actor: Bare) -> None:
    """As it is, and with its answer."""
    thing = object()
    assert actor._handle_receive(thing) is thing
    assert calls == ["on_receive"]


def test_a_proxy_works_on_our_actors(mailbox: MakeMailbox) -> None:
    """What is Pykka's own is left to Pykka."""
    actor = spawn(mailbox(), lambda: Unlisted(["a note"]))
    attribute = actor.actor_ref.ask(messages.ProxyGetAttr(attr_path=("notes",)), block=False)
    called = actor.actor_ref.ask(messages.ProxyCall(attr_path=("label",), args=("hello",), kwargs={}), block=False)
    actor.actor_inbox.run_turn()
    assert attribute.get(timeout=0)[0] == "a note"
    assert called.get(timeout=0) == "hello"


# Futures.


def test_a_future_takes_one_answer() -> None:
    """The second is refused with this error, which ends an ask that two threads answer."""
    future: pykka.ThreadingFuture[str] = pykka.ThreadingFuture()
    future.set("first")
    with pytest.raises(queue.Full):
        future.set("second")
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    assert future.get(timeout=0) == "first"
