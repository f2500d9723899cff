"""Wording that several messages share."""

import pytest

from yolox_jax.text import counted, shortened


@pytest.mark.parametrize(
    ("names", "expected"),
    [((), ""), (("a",), "a"), (["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b and 2 more")],
)
def test_long_lists_are_cut_and_say_how_much_is_missing(names: list[str], expected: str) -> None:
    assert shortened(names, 2) == expected


def test_one_thing_is_no_plural() -> None:
    assert [counted(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
