"""From files to interactions. To add a form, add a line to `formats.READERS`."""
