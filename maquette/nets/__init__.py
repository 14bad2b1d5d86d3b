"""Floor 2: networks, (x, t, condition) -> tensor. Each maps one shape to another and knows nothing of families."""
