"""Floor 1: crafts, one file each: what is taken from a sample, and how it is given back without learning."""
