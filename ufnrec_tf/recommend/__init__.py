"""Lists for many histories by an exported model; the same in Python."""
