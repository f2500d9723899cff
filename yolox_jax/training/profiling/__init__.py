"""The cost of a training step: its memory, and its time by operation."""
