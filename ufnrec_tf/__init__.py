"""UFNRec, false-negative aware sequential recommendation, on TensorFlow and Keras 3."""

__version__ = "0.1.0"
