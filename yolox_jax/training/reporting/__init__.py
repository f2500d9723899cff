"""What a run reports: console output, the metrics log, and metric writers."""
