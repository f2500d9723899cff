"""What a run tells: the console, the metrics log, and metric writers."""
