"""Floor 2: reversible changes of space; they are handed an autoencoder and import none."""
