"""The commands. Only this package parses arguments."""
