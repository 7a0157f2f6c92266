"""Command ``growloop claims``."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ..tasks.loading import require_extra
from .command import Command
from .leaderboard import FOLDER, WITHOUT_PAPER, loaded
from .options import option, picture_option, table_options
from .tables import paragraph, print_csv

if TYPE_CHECKING:
    from ..leaderboard.claims.power import Power
    from ..leaderboard.claims.verdicts import Claim, Finding

AFFORDABLE = 10  # training runs of each model, with --power
STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow"}


@click.command("claims", cls=Command)
@FOLDER
@option("--claim", "-c", "name", help="show only this claim, with all its numbers")
@WITHOUT_PAPER
@picture_option("draw the effects as a forest plot")
@option("--power", is_flag=True, help="how many training runs would decide each claim")
@option(
    "--affordable",
    type=click.IntRange(2, 1000),
    help="with --power: training runs of each model that you could make (10)",
)
@table_options("print the findings as JSON", "print the effects as CSV")
def command(
    folder: str,
    name: str | None,
    no_paper: bool,
    picture: str | None,
    power: bool,
    affordable: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Test the paper's claims on the records, at each scale measured.

    The verdict is supported, contradicted, undecided, or not run at this scale. Effects in the
    paper's own results are shown for comparison, without a verdict.

    With --power: the number of training runs that would decide each claim at
    the spread observed between runs, and the smallest effect that the present
    records could have shown.

    \b
    Examples:
      growloop claims
      growloop claims --claim looping-at-equal-parameters
      growloop claims --picture claims.svg
      growloop claims --power --affordable 5
    """
    require_extra("leaderboard", "a claim")
    if picture is not None:
        from ..studies.measure.charts import check_picture

        check_picture(picture)
    from ..core.errors import InputError, unknown
    from ..leaderboard.claims.paper_claims import CLAIMS
    from ..leaderboard.claims.verdicts import evaluate_claims

    names = [claim.id for claim in CLAIMS]
    if name is not None and name not in names:
        raise unknown("claim", name, names)
    claims = [claim for claim in CLAIMS if name in (None, claim.id)]
    findings = evaluate_claims(loaded(folder, no_paper).records, claims)
    if affordable is not None and not power:
        raise InputError("--affordable belongs to --power")
    most = (affordable or AFFORDABLE) if power else None
    if most is not None:
        findings = [f for f in findings if f.kind == "measured"]
    if picture is not None:
        from ..studies.measure.charts import save
        from ..studies.measure.forest_chart import claims_chart

        click.echo(str(save(claims_chart(findings), picture)), err=True)
    if as_json:
        click.echo(json.dumps([_json_fields(finding, most) for finding in findings], indent=2))
        return
    if as_csv:
        print_csv([row for finding in findings for row in _csv_rows(finding, most)])
        return
    if most is not None:
        _print_power(claims, findings, most)
        return
    for claim in claims:
        _print(claim, [f for f in findings if f.claim == claim], details=name is not None)


def _json_fields(finding: Finding, affordable: int | None = None) -> dict[str, Any]:
    """Return the fields of a finding; those of its power too, given what is affordable."""
    fields = _finding_fields(finding)
    if affordable is not None:
        from ..leaderboard.claims.power import claim_outlook, comparison_power

        powers = [comparison_power(effect, affordable) for effect in finding.effects]
        fields["outlook"] = claim_outlook(powers, finding.verdict)
        for effect, power in zip(fields["effects"], powers, strict=True):
            effect |= {
                "outlook": power.outlook,
                "spread": power.spread,
                "detectable": power.detectable,
                "needed": power.needed,
                "needed_with_many_items": power.needed_with_many_items,
                "power": power.why,
            }
    return fields


def _finding_fields(finding: Finding) -> dict[str, Any]:
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
                "trainings": effect.runs,
                "comparable_sets": effect.groups,
                "why": effect.why,
                "records": list(effect.records),
            }
            for effect in finding.effects
        ],
    }


def _csv_rows(finding: Finding, affordable: int | None = None) -> list[dict[str, Any]]:
    """Return a row for each effect of a finding; one without numbers if it has no effect."""
    fields = _json_fields(finding, affordable)
    effects = fields.pop("effects")
    fields["finding_verdict"] = fields.pop("verdict")
    if affordable is not None:
        fields["finding_outlook"] = fields.pop("outlook")
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


def _print_power(claims: list[Claim], findings: list[Finding], affordable: int) -> None:
    """Print, per claim and scale measured, what would decide it, and the counts of outlooks."""

    from ..leaderboard.claims.power import claim_outlook, comparison_power

    counts: dict[str, Counter[str]] = {}
    for claim in claims:
        paragraph(f"{claim.id}  {claim.statement}", hanging=2, bold=True)
        tested = [f for f in findings if f.claim == claim and f.verdict != "not run at this scale"]
        for finding in tested:
            powers = [comparison_power(effect, affordable) for effect in finding.effects]
            outlook = claim_outlook(powers, finding.verdict)
            counts.setdefault(finding.scale, Counter())[outlook] += 1
            shown = finding.verdict if outlook == "decided" else outlook
            paragraph(f"{finding.scale}: {shown}", 2, 2, fg=STYLES.get(shown, "bright_black"))
            for power in powers:
                paragraph(f"{power.effect.comparison.what}: {_power_words(power)}", 4, 2)
        if not tested:
            paragraph("not run at any scale", 2, 2, dim=True)
        click.echo()
    for scale, outlooks in counts.items():
        parts = ", ".join(f"{count} {outlook}" for outlook, count in outlooks.most_common())
        paragraph(f"{scale}: {parts} (at most {affordable} training runs of each model)")


def _power_words(power: Power) -> str:
    """Say what would decide a comparison, and what its records could have shown."""
    effect = power.effect
    if power.outlook in ("decided", "unknown"):
        return effect.verdict if power.outlook == "decided" else f"unknown; {power.why}"
    words = f"{power.outlook}; {power.why}"
    if power.needed_with_many_items not in (None, power.needed):
        words += f" ({power.needed_with_many_items} with many more items)"
    if power.detectable is None:
        return f"{words}; no possible effect would have been shown by the present records"
    return f"{words}; the present records could have shown {power.detectable:+.3f} or more"
