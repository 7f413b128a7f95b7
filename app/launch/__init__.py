"""The command line: what a config may ask for, launchers, and how failures are told."""
