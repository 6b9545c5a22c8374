"""--mode=sweep: a search by validation only, with Optuna."""
