"""The flags of tiled detection, which `predict` and `evaluate` share."""

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import tyro

from yolox_jax.cli.parsing import given_flags
from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_tiles

Tile = Annotated[str | None, tyro.conf.arg(metavar="PX|auto")]
"""Read by `read_tile`."""


def read_tile(tile: str | None, overlap: float, argv: Sequence[str]) -> int | Literal["auto"] | None:
    """The value of `--tile` as `Detector` takes it; `argv` is the command line.

    Raises:
        ConfigError: `--tile` or `--overlap` is out of range, or `--overlap` is given without `--tile`.
    """
    if tile is None and "--overlap" in given_flags(argv):
        raise ConfigError(
            "--overlap has no effect without --tile, the side of a tile in px; pass both, such as --tile 640"
        )
    side = int(tile) if tile is not None and tile.isdecimal() else tile
    check_tiles(side, overlap)
    return cast(int | Literal["auto"] | None, side)
