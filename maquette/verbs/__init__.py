"""Floor 8: one function each; also the Python API."""
