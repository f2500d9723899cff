"""Checks datasets before training, and reports all problems at once."""
