"""``growloop claims``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..tasks.loading import require_extra
from .leaderboard import FOLDER, WITHOUT_PAPER, gathered
from .tables import paragraph

if TYPE_CHECKING:
    from ..leaderboard.claims.claims import Claim, Finding

STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow"}


@click.command("claims")
@FOLDER
@click.option("--claim", "-c", "name", help="one of them, with all its numbers")
@WITHOUT_PAPER
@click.option("--json", "as_json", is_flag=True, help="print the findings as JSON")
def command(folder: str, name: str | None, no_paper: bool, as_json: bool) -> None:
    """Say which claims of the paper the records bear out, at each scale measured.

    A verdict is computed from the records: supported, contradicted, undecided, or not run at this
    scale. What the paper's own rows come to is shown beside it, without a verdict.

    \b
    Examples:
      growloop claims
      growloop claims --claim looping-at-equal-parameters
    """
    require_extra("leaderboard", "a claim")
    from ..core.errors import unknown
    from ..leaderboard.claims.claims import findings
    from ..leaderboard.claims.ledger import CLAIMS

    names = [claim.id for claim in CLAIMS]
    if name is not None and name not in names:
        raise unknown("claim", name, names)
    claims = [claim for claim in CLAIMS if name in (None, claim.id)]
    found = findings(gathered(folder, no_paper), claims)
    if as_json:
        click.echo(json.dumps([_flat(finding) for finding in found], indent=2))
        return
    for claim in claims:
        _print(claim, [f for f in found if f.claim == claim], details=name is not None)


def _flat(finding: Finding) -> dict[str, Any]:
    return {
        "claim": finding.claim.id,
        "statement": finding.claim.statement,
        "paper": finding.claim.paper,
        "scale": finding.scale,
        "kind": finding.kind,
        "verdict": finding.verdict if finding.kind == "measured" else None,
        "effects": [
            {
                "effect": effect.comparison.what,
                "study": effect.comparison.study,
                "verdict": effect.verdict if finding.kind == "measured" else None,
                "value": effect.value,
                "low": effect.low,
                "high": effect.high,
                "least": effect.comparison.least,
                "trainings": effect.trainings,
                "comparable_sets": effect.groups,
                "why": effect.why,
                "records": list(effect.records),
            }
            for effect in finding.effects
        ],
    }


def _print(claim: Claim, found: list[Finding], details: bool) -> None:
    paragraph(f"{claim.id}  {claim.statement}", hanging=2, bold=True)
    run = [finding for finding in found if finding.verdict != "not run at this scale"]
    for finding in run:
        measured = finding.kind == "measured"
        verdict = finding.verdict if measured else "the paper's rows"
        paragraph(f"{finding.scale}: {verdict}", 2, 2, fg=STYLES.get(verdict, "bright_black"))
        for effect in finding.effects:
            value = "–" if effect.value is None else f"{effect.value:+.3f}"
            if effect.low is not None and effect.high is not None:
                value += f" [{effect.low:+.3f}, {effect.high:+.3f}]"
            value = value.replace(" ", "\xa0")  # an effect and its interval stay in one line
            line = f"{effect.comparison.what}: {value}"
            if details or measured:
                line += f"; {effect.why}"
            paragraph(line, 4, 2)
    missing = [f for f in found if f.verdict == "not run at this scale" and f.kind == "measured"]
    if missing or not run:
        scales = ", ".join(finding.scale for finding in missing) or "any scale"
        paragraph(f"not run at this scale: {scales}", 2, 2, dim=True)
        for reason in dict.fromkeys(e.why for f in missing for e in f.effects) if details else ():
            paragraph(reason, 4, 2, dim=True)
    click.echo()
