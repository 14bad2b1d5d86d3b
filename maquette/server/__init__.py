"""Floor 6: models behind HTTP, in the shapes that OpenAI's clients speak."""
