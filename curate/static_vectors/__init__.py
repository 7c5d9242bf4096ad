"""Document vectors from word counts alone: hashed words, a truncated SVD, and one pass over the text to apply it."""
