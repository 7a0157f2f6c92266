"""Command ``growloop claims``."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ..tasks.loading import require_extra
from .command import Command
from .leaderboard import FOLDER, WITHOUT_PAPER, gathered
from .options import option, picture_option, table_options
from .tables import paragraph, print_csv

if TYPE_CHECKING:
    from ..leaderboard.claims.claim import Comparison
    from ..leaderboard.claims.findings import Claim, Finding

STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow"}


@click.command("claims", cls=Command)
@FOLDER
@option("--claim", "-c", "name", help="show only this claim, with all its numbers")
@WITHOUT_PAPER
@picture_option("draw the effects as a forest plot")
@table_options("print the findings as JSON", "print the effects as CSV")
def command(
    folder: str,
    name: str | None,
    no_paper: bool,
    picture: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Test the paper's claims on the records, at each scale measured.

    The verdict is supported, contradicted, undecided, or not run at this scale. Effects in the
    paper's own results are shown for comparison, without a verdict.

    \b
    Examples:
      growloop claims
      growloop claims --claim looping-at-equal-parameters
      growloop claims --picture claims.svg
    """
    require_extra("leaderboard", "a claim")
    if picture is not None:
        from ..studies.measure.charts import check_picture

        check_picture(picture)
    from ..core.errors import unknown
    from ..leaderboard.claims.findings import evaluate_claims
    from ..leaderboard.claims.paper_claims import CLAIMS

    names = [claim.id for claim in CLAIMS]
    if name is not None and name not in names:
        raise unknown("claim", name, names)
    claims = [claim for claim in CLAIMS if name in (None, claim.id)]
    findings = evaluate_claims(gathered(folder, no_paper), claims)
    if picture is not None:
        _draw(findings, picture)
    if as_json:
        click.echo(json.dumps([_json_fields(finding) for finding in findings], indent=2))
        return
    if as_csv:
        print_csv([row for finding in findings for row in _csv_rows(finding)])
        return
    for claim in claims:
        _print(claim, [f for f in findings if f.claim == claim], details=name is not None)


def _draw(findings: list[Finding], picture: str) -> None:
    """Draw the measured effects, as on the first page of the leaderboard.

    Raises:
        InputError: no effect was measured.
    """
    from ..core.errors import InputError
    from ..leaderboard.site.forest_plot import forest
    from ..studies.measure.charts import save
    from ..studies.measure.forest_chart import Difference, forest_chart

    plot = forest(findings)
    if not plot.rows:
        raise InputError("no effect to draw: no claim has comparable records here")
    several = len({row.finding.scale for row in plot.rows}) > 1
    whats = Counter(row.effect.comparison.what for row in plot.rows)
    differences = []
    for row in plot.rows:
        comparison, effect = row.effect.comparison, row.effect
        label = comparison.what + f" ({row.finding.scale})" * several
        if whats[comparison.what] > 1:
            label = f"{row.finding.claim.id}: {label}"
        low, high = (None, None) if row.counted else (effect.low, effect.high)
        value = effect.value or 0.0
        differences.append(Difference(label, value, low, high, _unit(comparison), effect.verdict))
    chart = forest_chart(
        differences, plot.heading, "right of 0 is for the paper's claim; lines: 95 % intervals"
    )
    click.echo(str(save(chart, picture)), err=True)


UNITS = {"acc": "accuracy", "overlap": "overlap of the five most likely tokens"}


def _unit(comparison: Comparison) -> str:
    """Return the unit of an effect, as the title of its axis."""
    if comparison.quantity == "training_flops":
        return "share of training FLOPs"
    metric = comparison.metric.partition("|")[0]
    return UNITS.get(metric, metric.replace("_", " "))


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
