"""--mode=compare: arms x seeds, each run in a process of its own, then one report."""
