"""The commands: each parses its command line, calls the library and prints. Only this package parses arguments."""
