"""Sentences keep their words whole on terminals, and are left as they are elsewhere."""

import io

import pytest

from yolox_jax.cli.terminal import say

SENTENCE = "error: /a/long/folder/data.yaml does not exist. Pass a data.yaml or the folder of a dataset."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Terminal()
    say(f"{SENTENCE}\n  a short line", terminal)
    lines = terminal.getvalue().splitlines()
    assert all(len(line) <= 30 for line in lines)
    assert " ".join(lines[:-1]) == SENTENCE
    assert lines[-1] == "  a short line"


def test_a_path_longer_than_a_line_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    say(SENTENCE, terminal)
    assert "/a/long/folder/data.yaml" in terminal.getvalue()


def test_a_file_gets_one_line() -> None:
    file = io.StringIO()
    say(SENTENCE, file)
    assert file.getvalue() == f"{SENTENCE}\n"
