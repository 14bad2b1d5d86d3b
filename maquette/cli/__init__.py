"""Floor 9: parse, call a verb, show."""
