"""Tests, the oracle they compare with, and the cases they run on."""

import gc

# Tracing makes millions of objects that live on: looking through them often takes a tenth of all.
gc.set_threshold(100_000, 50, 50)
