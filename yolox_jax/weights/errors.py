"""The error for weights."""


class WeightsError(ValueError):
    """Weights cannot be read or do not match the model. The message names the file or keys, and what to do."""
