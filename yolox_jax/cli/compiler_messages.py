"""Hides XLA's reminders to report slow compilations, which are no bug; training itself says what it compiles."""

import contextlib
import os
import signal
import subprocess
import sys

MARK = "slow_operation_alarm.cc"
"""The source file of these reminders, in the first line of each."""

END = "attach the results"
"""In the last line of each, except for a line of asterisks."""

# A process of its own, because a thread would lose what a crashing program writes last. It ends with its input.
_FILTER = f"""
import contextlib, sys
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
    with contextlib.suppress(OSError):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def hide_slow_compilation_reminders() -> None:
    """Drops these reminders from what C++ code writes to a terminal; everything else passes, at any level.

    jax can only hide all errors of XLA or none. Python's own `sys.stderr` stays connected as it was. Does nothing if
    stderr is no terminal: logs get everything, and in a container the last lines would be lost with its first process.
    Does nothing either if TF_CPP_MIN_LOG_LEVEL is set: then XLA's messages are wanted as they are.
    """
    if os.name != "posix" or sys.stderr is None or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    with contextlib.suppress(OSError, ValueError):  # no descriptor behind stderr, or no process to be had
        sys.stderr.flush()
        if sys.stderr.fileno() != 2 or not sys.stderr.isatty():
            return
        original = os.dup(2)
        # The process inherits the mask: Ctrl-C is for the program, which still prints when it stops.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        try:
            passing_on = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _FILTER],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=original,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert passing_on.stdin is not None
        sys.stderr = open(  # noqa: SIM115, PTH123  (open until the program ends)
            original, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1
        )
        os.dup2(passing_on.stdin.fileno(), 2)
        passing_on.stdin.close()
