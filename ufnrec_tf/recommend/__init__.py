"""Recommendations for many histories by an exported model, as a file or in Python."""
