"""What a mailbox owes those who write to it: letters leave from the front, and come back in order.

Looked at before and after every turn, from outside, so that an actor that fails or is given up
loses nothing of what it had taken, whoever reads there next.
"""

from collections.abc import Sequence

from amends.supervisor.actor import Kill
from amends.supervisor.mailbox import Letter, Mailbox


class Letters:
    """What waits in each mailbox, as it was last seen."""

    def __init__(self) -> None:
        self._waiting: dict[Mailbox, tuple[Letter, ...]] = {}

    def before(self, mailbox: Mailbox) -> None:
        """A turn begins: what waited after the last one is still there, in order."""
        letters = mailbox.letters
        here = {id(letter) for letter in letters}
        # The watch may have given up a turn meanwhile, and buried what has killed too many.
        left = [letter for letter in self._waiting.get(mailbox, ()) if id(letter) in here or _comes_back(letter)]
        _in_order(mailbox, left, letters, "between two turns")

    def after(self, mailbox: Mailbox, before: tuple[Letter, ...], *, failed: bool) -> None:
        """A turn has ended: it took letters from the front, and if it failed it has brought them back."""
        if mailbox.closed:
            self.forget(mailbox)
            return
        letters = self._waiting[mailbox] = mailbox.letters
        here = {id(letter) for letter in letters}
        if failed:
            left = [letter for letter in before if id(letter) in here or _comes_back(letter)]
        else:
            # What was not taken is the end of what was there.
            left = list(before[len(before) - sum(id(letter) in here for letter in before) :])
        _in_order(mailbox, left, letters, "in a turn")

    def forget(self, mailbox: Mailbox) -> None:
        """It is closed for good."""
        self._waiting.pop(mailbox, None)


def _comes_back(letter: Letter) -> bool:
    gone_for_good = isinstance(letter.message, Kill) or letter.reply_to is not None
    return not gone_for_good and not letter.spent


def _in_order(mailbox: Mailbox, wanted: Sequence[Letter], found: Sequence[Letter], when: str) -> None:
    places = {id(letter): place for place, letter in enumerate(found)}
    last = -1
    for letter in wanted:
        place = places.get(id(letter), -1)
        kind = type(letter.message).__name__
        assert place >= 0, f"mailbox order: a {kind} for {mailbox.name!r} was lost {when}"
        assert place > last, f"mailbox order: a {kind} for {mailbox.name!r} was overtaken {when}"
        last = place
