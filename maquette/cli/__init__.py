"""Floor 7: parse, call a verb, show."""
