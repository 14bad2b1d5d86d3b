"""Floor 0: the vocabulary that every other package speaks. `config`, `errors` and `files` import no torch."""
