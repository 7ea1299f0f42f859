"""What was read of a journal, as tables for a terminal.

Reasons come from services and may hold square brackets, so all text is shown as it is, never as markup.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amends.actors.journal.store import Instance
from amends.actors.status import QueueStatus
from amends.console.plans import PlanUse
from amends.console.progress import Progress, StepProgress
from amends.console.timings import SagaTimings, Spread, Timings

_STYLES = {
    "completed": "green",
    "compensated": "yellow",
    "quarantined": "red",
    "done": "green",
    "refused": "yellow",
    "undone": "yellow",
}
_REASONS_SHOWN = 3


def progress(told: Progress) -> RenderableType:
    """One instance: how it stands, and each step with what went wrong."""
    state = Text.assemble(f"{told.saga} {told.key}: ", _styled(told.state))
    if told.duration_s is not None:
        state.append(f" after {_seconds(told.duration_s)}")
    lines = [state, Text(f"instance {told.saga_id}, version {told.version}, started {_time(told.started_at)}")]
    if told.why is not None:
        culprit = f"step {told.why.step}: " if told.why.step else ""
        lines.append(Text(f"went back because of {culprit}{told.why.reason}"))
    if told.resumed:
        lines.append(Text(f"resumed after a restart: {told.resumed}"))
    if told.damage:
        lines.append(Text(f"damaged: {told.damage}", style="red"))
    table = _table("step", "status", "attempts", "time", "undo", "what happened", right=("attempts", "time", "undo"))
    for step in told.steps:
        table.add_row(
            Text(step.step),
            _styled(step.status),
            f"{step.attempts}" + (f" + {step.undo_attempts}" if step.undo_attempts else ""),
            _seconds(step.time_s),
            _seconds(step.undo_time_s),
            Text("\n".join(_happened(step, told.started_at))),
        )
    return Group(*lines, table)


def instances(found: Sequence[Instance]) -> RenderableType:
    """A list of instances."""
    table = _table("started", "saga", "key", "state", "time", right=("time",))
    for instance in found:
        took_s = None if instance.ended_at is None else instance.ended_at - instance.started_at
        table.add_row(
            _time(instance.started_at),
            Text(instance.saga),
            Text(instance.key),
            _styled(instance.state),
            _seconds(took_s),
        )
    return table


def plans(found: Sequence[PlanUse]) -> RenderableType:
    """The plans that open instances began with, and whether a program has them."""
    table = _table("saga", "version", "steps", "open", "verdict", right=("version", "open"))
    for use in found:
        verdict = Text(use.verdict, style="red" if use.is_left else "")
        table.add_row(Text(use.saga), f"{use.version}", Text(use.digest), f"{use.open:,}", verdict)
    return table if found else Text("no instance is open")


def timings(told: Timings) -> RenderableType:
    """Where the time goes, saga by saga."""
    parts = [part for saga in told.sagas for part in _saga(saga)]
    if told.unreadable:
        parts.append(Text(f"not in it, because their histories can't be read: {told.unreadable}", style="red"))
    return Group(*parts) if parts else Text("no instance yet")


def queues(mailboxes: Mapping[str, QueueStatus]) -> RenderableType:
    """How long messages wait, queue by queue; the slowest first. Of `System.status().mailboxes`."""
    table = _table("queue", "waiting", "mean wait", "longest", right=("waiting", "mean wait", "longest"))
    for name, queue in sorted(mailboxes.items(), key=lambda entry: -entry[1].mean_s):
        table.add_row(Text(name), f"{queue.waiting:,}", _seconds(queue.mean_s), _seconds(queue.longest_s))
    return table


def _saga(told: SagaTimings) -> list[RenderableType]:
    counts = ", ".join(f"{count:,} {state}" for state, count in told.states.items())
    parts: list[RenderableType] = [Text(f"{told.saga}: {counts}", style="bold")]
    for name, spread in (("completed", told.completed), ("compensated", told.compensated)):
        if spread.count:
            parts.append(Text(f"{name}: {_spread(spread)}"))
    if told.reasons:
        parts.append(Text(f"went back because of {_reasons(told.reasons)}"))
    numbers = ("answers", "p50", "p99", "longest", "undone", "retries", "stuck")
    table = _table("step", *numbers, right=numbers)
    for step in told.steps:
        answered = step.answered
        times = (answered.p50_s, answered.p99_s, answered.max_s)
        table.add_row(
            Text(step.step),
            f"{answered.count:,}",
            *(_seconds(time_s if answered.count else None) for time_s in times),
            f"{step.undone.count:,}",
            f"{step.retries:,}",
            f"{step.stuck:,}",
        )
    notes = [
        Text(f"{step.step} {what}: {_reasons(counts)}")
        for step in told.steps
        for what, counts in (("refused", step.refusals), ("failed", step.failures))
        if counts
    ]
    return [*parts, table, *notes]


def _happened(step: StepProgress, started_at: float) -> Iterable[str]:
    """Times count from the start of the instance."""
    if step.stuck is not None:
        yield f"stuck: {step.stuck}"
    if step.refused is not None:
        yield f"refused: {step.refused}"
    for failure in step.failures:
        yield f"{_seconds(failure.at - started_at)}: {failure.phase} failed: {failure.reason}"
    for act in step.interventions:
        yield f"{_seconds(act.at - started_at)}: {act.action} by {act.by}: {act.reason}"


def _reasons(counts: Mapping[str, int]) -> str:
    """The first ones, with how often."""
    shown = [f"{reason} ({count:,})" for reason, count in list(counts.items())[:_REASONS_SHOWN]]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _spread(spread: Spread) -> str:
    return f"p50 {_seconds(spread.p50_s)}, p99 {_seconds(spread.p99_s)}, longest {_seconds(spread.max_s)}"


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return table


def _styled(status: str) -> Text:
    return Text(status, style=_STYLES.get(status, ""))


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.2f} s"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
