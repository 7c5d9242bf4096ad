"""The stages of a pipeline, one file each: what bears on their output, and how they run over shards."""
