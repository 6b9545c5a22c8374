"""The command line: `main.py` calls `cli.main.run`."""
