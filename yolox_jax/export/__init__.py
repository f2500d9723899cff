"""Networks as files that other programs run."""
