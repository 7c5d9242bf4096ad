"""One reader per input format; each is found by name in ``reader.READERS``."""
