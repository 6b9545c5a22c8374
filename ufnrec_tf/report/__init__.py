"""Pages and pictures of runs and comparisons. Needs no TensorFlow."""
