"""What a training step costs: its time, operation by operation, and its memory."""
