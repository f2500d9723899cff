"""Training: state, optimizer, the jitted step, checkpoints, reports, and the loop that joins them."""
