"""Scoring with causal language models, and training them: what the job ``bits_per_byte`` measures."""
