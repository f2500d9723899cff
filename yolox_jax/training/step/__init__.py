"""The training step: a pure function of the state and the batch."""
