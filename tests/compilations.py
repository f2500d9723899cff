"""Counts JAX compilations."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """How many programs were compiled, also those that came from the persistent cache."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: str, *_: Any, **__: Any) -> None:
        self.count += event == COMPILED


@contextlib.contextmanager
def count_compilations() -> Iterator[Compilations]:
    """Count the compilations while the context is open."""
    compilations = Compilations()
    jax.monitoring.register_event_duration_secs_listener(compilations)
    try:
        yield compilations
    finally:
        jax.monitoring.unregister_event_duration_listener(compilations)
