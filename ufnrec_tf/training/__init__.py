"""--mode=train: a configuration and a split to a trained, scored, exported work directory."""
