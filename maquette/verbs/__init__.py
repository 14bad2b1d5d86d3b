"""Floor 7: one function each; also the Python API."""
