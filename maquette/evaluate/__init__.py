"""Floor 6: scores, reports, ranking."""
