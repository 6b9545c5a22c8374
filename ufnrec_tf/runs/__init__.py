"""A work directory and its files: record, state, checkpoints, raw ids, TensorBoard files."""
