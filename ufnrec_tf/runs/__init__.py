"""A work directory and what lies in it: record, state, checkpoints, raw ids, TensorBoard files."""
