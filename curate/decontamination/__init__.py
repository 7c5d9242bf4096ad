"""Evaluation files and the index of their n-grams, which training documents are compared with."""
