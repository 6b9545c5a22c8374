"""Runs of other people's code, which stays where its user fetched it; none of it is here."""
