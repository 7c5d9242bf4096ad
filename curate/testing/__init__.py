"""The contract of scorers and mixers as a suite, for ours and for yours.

    from curate.testing import check_document_mixer, check_mixer, check_scorer

    def test_my_scorer():
        check_scorer(MyScorer(minimum_length=3))

Each function raises AssertionError saying which clause is broken, in which column and row.
A pipeline relies on every clause: shards are cut into batches of any size, workers come and
go, and a result that depends on either could not be reproduced.
"""

from curate.testing.document_mixers import check_document_mixer
from curate.testing.mixers import check_mixer, sample_domains, sample_weights
from curate.testing.scorers import ODD_TEXTS, check_scorer, sample_documents

__all__ = ["ODD_TEXTS", "check_document_mixer", "check_mixer", "check_scorer", "sample_documents", "sample_domains", "sample_weights"]
