"""Raters of documents: labelled documents, heads on their embeddings, and how right the heads are."""
