"""Values that JSON can hold."""

import math
from typing import Any


def null_if_not_finite(value: Any) -> Any:
    """`value` with null for NaN and infinities, which are no JSON; tuples become lists."""
    if isinstance(value, dict):
        return {key: null_if_not_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [null_if_not_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
