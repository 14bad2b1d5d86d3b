"""Floor 8: parse, call a verb, show."""
