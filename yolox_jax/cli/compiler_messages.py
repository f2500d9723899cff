"""Hides XLA's reminders to report slow compilations, which are no bug; training itself says what it compiles."""

import contextlib
import os
import subprocess
import sys

MARK = "slow_operation_alarm.cc"
"""The source file of these reminders, in the first line of each."""

END = "attach the results"
"""In the last line of each, except for a line of asterisks."""

# Runs in a process of its own, so that what a crashing program writes last is not lost. It ends with its input.
_FILTER = f"""
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
inside = after = False
for line in sys.stdin.buffer:
    if b"{MARK}" in line:
        inside, after, num_lines = True, False, 0
    if inside:
        num_lines += 1
        if b"{END}" in line:
            inside, after = False, True
            continue
        if num_lines < 20:
            continue
        inside = False
    if after and not line.strip(b"*\\n"):
        continue
    after = False
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()
"""


def hide_slow_compilation_reminders() -> None:
    """Drops these reminders from what C++ code writes to stderr; everything else passes, at any level.

    jax can only hide all errors of XLA or none. Python's own `sys.stderr` stays connected as it was. Does nothing if
    TF_CPP_MIN_LOG_LEVEL is set: then XLA's messages are wanted as they are.
    """
    if os.name != "posix" or sys.stderr is None or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    with contextlib.suppress(OSError, ValueError):  # no descriptor behind stderr, or no process to be had
        sys.stderr.flush()
        descriptor = sys.stderr.fileno()
        if descriptor != 2:
            return
        original = os.dup(descriptor)
        passing_on = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=original,
        )
        assert passing_on.stdin is not None
        sys.stderr = open(  # noqa: SIM115, PTH123  (open until the program ends)
            original, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1
        )
        os.dup2(passing_on.stdin.fileno(), descriptor)
        passing_on.stdin.close()
