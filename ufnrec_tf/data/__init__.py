"""Logs of (user, item, time): reading, splitting, generating, feeding."""
