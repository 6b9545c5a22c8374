"""A local server of an exported model. It knows nothing of training or of data files."""
