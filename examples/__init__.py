"""Examples, each a file to start from."""
