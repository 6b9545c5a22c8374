"""A trained backbone as a SavedModel that needs TensorFlow alone, in numbered versions."""
