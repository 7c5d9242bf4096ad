"""Experiments with trained models: long commands whose small result tables are kept beside them.

``python -m benchmarks.experiments.NAME --data FOLDER`` runs one; what is done is kept, so that a stopped run goes on.
"""
