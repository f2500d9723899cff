"""Shows an evaluation as one page."""
