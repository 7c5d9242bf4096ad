"""The lists that the authors of perplexity correlations published beside their tables, and the benchmarks of their targets."""

from __future__ import annotations

# Rows of the published table of 263 articles with the ten largest estimates for each target, as published together with
# the published errors. (The authors' repository also holds lists from other errors, of 7,725 chunks instead of 7,736.)
PUBLISHED = {
    "lambada": {2, 49, 69, 91, 99, 107, 143, 255, 258, 260},
    "lambada_de": {2, 49, 69, 91, 99, 106, 107, 255, 258, 260},
    "lambada_es": {69, 99, 127, 128, 129, 130, 143, 255, 258, 260},
    "lambada_fr": {49, 69, 99, 127, 128, 130, 143, 255, 258, 260},
    "lambada_it": {2, 49, 69, 91, 99, 107, 143, 255, 258, 260},
    "arc_easy": {9, 39, 67, 96, 121, 127, 135, 157, 177, 220},
    "piqa": {27, 50, 79, 83, 97, 99, 120, 121, 143, 258},
    "sciq": {93, 95, 120, 121, 134, 135, 151, 157, 171, 233},
}
BENCHMARKS: dict[str, list[str]] = {
    "lambada": ["lambada_openai", "lambada_standard"],
    **{f"lambada_{language}": [f"lambada_openai_mt_{language}"] for language in ("de", "es", "fr", "it")},
    **{name: [name] for name in ("arc_easy", "piqa", "sciq")},
}
