"""Floor 6: scores, reports, ranking. They know models by their protocols and media by their spaces."""
