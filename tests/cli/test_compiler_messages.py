"""XLA's reminders to report slow compilations are dropped from stderr, and nothing else is."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys
from yolox_jax.cli import compiler_messages

compiler_messages.hide_slow_compilation_reminders()
os.write(2, sys.argv[1].encode())
print("from Python", file=sys.stderr)
os.write(2, b"F0000 the last words\\n")
os.abort()
"""

SLOW = """\
E0000 00:00:1 1 slow_operation_alarm.cc:73] {first}

********************************
[Compiling module jit_step] Very slow compile? If you want to file a bug, run with XLA_FLAGS=... and attach the results.
********************************
"""
FOLDING = """\
2026-01-01 00:00:00.1: W external/xla/xla/service/slow_operation_alarm.cc:73] Constant folding takes > 1s:

  %reduce = f32[] reduce(...)

If you'd like to file a bug, run with envvar XLA_FLAGS=--xla_dump_to=/tmp/foo and attach the results.
"""
REAL = "E0000 00:00:1 1 cuda_dnn.cc:522] Loaded runtime CuDNN library: 9.1 but source was compiled with: 9.8\n"


def run(written: str, stderr: int, script: str = SCRIPT, **environment: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | environment
    subprocess.run(
        [sys.executable, "-c", script, written],
        env=environment,
        stderr=stderr,
        check=False,
        timeout=60,
        start_new_session=True,
    )


def terminal_after(written: str, script: str = SCRIPT, **environment: str) -> list[str]:
    """What a terminal shows once all processes that hold it have ended."""
    master, slave = pty.openpty()
    try:
        run(written, slave, script, **environment)
    finally:
        os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # Linux reports an error at the end
        while part := os.read(master, 65536):
            shown += part
    os.close(master)
    return shown.decode().replace("\r\n", "\n").splitlines(keepends=True)


def test_reminders_are_dropped_and_errors_pass_even_the_last_before_a_crash():
    first, again = SLOW.format(first=""), SLOW.format(first="The operation took 2m10s")
    lines = terminal_after(first + REAL + again + FOLDING + "W0000 a warning\n****\n")
    assert sorted(lines) == sorted([REAL, "W0000 a warning\n", "****\n", "from Python\n", "F0000 the last words\n"])


def test_a_reminder_whose_end_is_missing_does_not_swallow_what_follows():
    later = [f"line {number}\n" for number in range(60)]
    lines = terminal_after("slow_operation_alarm.cc:73] in other words\n" + "".join(later))
    assert later[30:] == [line for line in lines if line.startswith("line")][-30:]


def test_messages_stay_as_they_are_where_the_user_has_chosen_a_level():
    assert "slow_operation_alarm.cc:73" in "".join(terminal_after(FOLDING, TF_CPP_MIN_LOG_LEVEL="0"))


def test_a_log_file_gets_everything(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        run(FOLDING, log.fileno())
    assert FOLDING in (tmp_path / "log").read_text()


def test_the_filter_survives_ctrl_c_from_its_start() -> None:
    ctrl_c = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); os.killpg(0, signal.SIGINT)"
    lines = terminal_after(REAL, SCRIPT.replace("os.write(2, sys.argv", f"{ctrl_c}\nos.write(2, sys.argv"))
    assert sorted(lines) == sorted([REAL, "from Python\n", "F0000 the last words\n"])
