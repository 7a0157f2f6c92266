"""Claims of the paper (arXiv:2602.16490) in testable form.

Names of studies, tasks, metrics and conditions are those of the records. Effects are in the unit of
the metric; accuracies are shares from 0 to 1.
"""

from __future__ import annotations

from . import score_claims, study_claims
from .claim import Claim

CLAIMS: tuple[Claim, ...] = (*score_claims.CLAIMS, *study_claims.CLAIMS)
