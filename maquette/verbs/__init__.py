"""Floor 6: one function each; also the Python API."""
