"""Floor 1: file formats and their arrays. One file, one medium; each knows nothing of families."""
