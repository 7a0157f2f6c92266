"""Command ``growloop claims``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..tasks.loading import require_extra
from .command import Command
from .leaderboard import FOLDER, WITHOUT_PAPER, loaded
from .options import option, table_options
from .tables import paragraph, print_csv

if TYPE_CHECKING:
    from ..leaderboard.claims.findings import Claim, Finding

STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow"}


@click.command("claims", cls=Command)
@FOLDER
@option("--claim", "-c", "name", help="show only this claim, with all its numbers")
@WITHOUT_PAPER
@table_options("print the findings as JSON", "print the effects as CSV")
def command(folder: str, name: str | None, no_paper: bool, as_json: bool, as_csv: bool) -> None:
    """Test the paper's claims on the records, at each scale measured.

    The verdict is supported, contradicted, undecided, or not run at this scale. Effects in the
    paper's own results are shown for comparison, without a verdict.

    \b
    Examples:
      growloop claims
      growloop claims --claim looping-at-equal-parameters
    """
    require_extra("leaderboard", "a claim")
    from ..core.errors import unknown
    from ..leaderboard.claims.findings import evaluate_claims
    from ..leaderboard.claims.paper_claims import CLAIMS

    names = [claim.id for claim in CLAIMS]
    if name is not None and name not in names:
        raise unknown("claim", name, names)
    claims = [claim for claim in CLAIMS if name in (None, claim.id)]
    findings = evaluate_claims(loaded(folder, no_paper).records, claims)
    if as_json:
        click.echo(json.dumps([_json_fields(finding) for finding in findings], indent=2))
        return
    if as_csv:
        print_csv([row for finding in findings for row in _csv_rows(finding)])
        return
    for claim in claims:
        _print(claim, [f for f in findings if f.claim == claim], details=name is not None)


def _json_fields(finding: Finding) -> dict[str, Any]:
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


def _csv_rows(finding: Finding) -> list[dict[str, Any]]:
    """Return a row for each effect of a finding; one without numbers if it has no effect."""
    fields = _json_fields(finding)
    effects = fields.pop("effects")
    fields["finding_verdict"] = fields.pop("verdict")
    return [fields | effect for effect in effects] or [fields]


def _print(claim: Claim, findings: list[Finding], details: bool) -> None:
    paragraph(f"{claim.id}  {claim.statement}", hanging=2, bold=True)
    tested = [finding for finding in findings if finding.verdict != "not run at this scale"]
    for finding in tested:
        measured = finding.kind == "measured"
        verdict = finding.verdict if measured else "the paper's rows"
        paragraph(f"{finding.scale}: {verdict}", 2, 2, fg=STYLES.get(verdict, "bright_black"))
        for effect in finding.effects:
            value = "–" if effect.value is None else f"{effect.value:+.3f}"
            if effect.low is not None and effect.high is not None:
                value += f" [{effect.low:+.3f}, {effect.high:+.3f}]"
            value = value.replace(" ", "\xa0")  # keep effect and interval on one line
            line = f"{effect.comparison.what}: {value}"
            if details or measured:
                line += f"; {effect.why}"
            paragraph(line, 4, 2)
    missing = [f for f in findings if f.verdict == "not run at this scale" and f.kind == "measured"]
    if missing or not tested:
        scales = ", ".join(finding.scale for finding in missing) or "any scale"
        paragraph(f"not run at this scale: {scales}", 2, 2, dim=True)
        for reason in dict.fromkeys(e.why for f in missing for e in f.effects) if details else ():
            paragraph(reason, 4, 2, dim=True)
    click.echo()
