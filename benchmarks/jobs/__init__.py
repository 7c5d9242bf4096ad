"""One file per claim: what is measured, and what to compare it with."""
