"""--mode=sweep: a search by validation alone, with Optuna."""
