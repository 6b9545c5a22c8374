"""--mode=inspect: the problems of a log, and the settings that mend them."""
