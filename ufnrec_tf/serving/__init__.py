"""A local server of an exported model. Knows nothing of training or of data files."""
