"""The error of this room."""


class WeightsError(ValueError):
    """Weights that cannot be read, or do not fit; the message names the file or the keys and says what to do."""
