"""--mode=inspect: what is odd about a log, and what mends it."""
