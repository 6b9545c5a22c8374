"""From files to interactions: forms, columns, times, filters.

To add a form, add a line to `formats.READERS`.
"""
