"""The paper's claims (arXiv:2602.16490) in testable form.

What a claim looks for is what evaluations and studies write: the names of studies, tasks, metrics
and conditions are theirs. Effects are in the unit of the metric, for accuracies in shares.
"""

from __future__ import annotations

from . import ledger_scores, ledger_studies
from .queries import Claim

CLAIMS: tuple[Claim, ...] = (*ledger_scores.CLAIMS, *ledger_studies.CLAIMS)
