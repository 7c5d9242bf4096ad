"""Rule filters: the signals published presets judge documents by, and the rules themselves."""
