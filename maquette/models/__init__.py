"""Floor 3: one file, one paper. Each model says how it learns (`turns`) and what it believes (`predictor`)."""
