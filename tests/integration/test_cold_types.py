"""The first moments of a process, in which several threads meet the same types for the first time."""

import subprocess
import sys

from tests.integration.children import ROOT

FIRST_READERS = """
import os, sys, threading
import msgspec
import amends.demo.messages as messages
from amends.protocol import codec

sys.setswitchinterval(1e-6)
kinds = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]


def read_all(first, together):
    together.wait()
    for kind in kinds[first:] + kinds[:first]:
        try:
            codec.decode(kind, b'{"order_id": "o", "lines": [{"item_id": "i", "quantity": 1}]}', "test")
        except codec.InputError:
            pass


ended = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        together = threading.Barrier(4)
        threads = [threading.Thread(target=read_all, args=(first, together)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert len(kinds) > 10, kinds
print(sorted(set(ended)))
"""


def test_threads_that_read_a_type_for_the_first_time_at_once() -> None:
    """Each gets its value or its error; the process lives."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_READERS], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[0]", "")
