"""A trained backbone as a SavedModel that needs only TensorFlow, in numbered versions."""
