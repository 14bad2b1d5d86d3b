"""Floor 5: scores, reports, ranking."""
