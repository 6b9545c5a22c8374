"""Tests, the oracle they compare with, and the cases they run on."""
