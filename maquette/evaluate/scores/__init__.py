"""Scores: pure functions of features, items or a model. None of them knows a family; each names its paper."""
