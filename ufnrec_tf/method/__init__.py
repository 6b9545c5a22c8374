"""UFNRec: the training step (`model.py`) and its parts, which do not know each other."""
