"""One topic a file; each holds a `router` that `app.py` includes. Every route declares its scope."""
