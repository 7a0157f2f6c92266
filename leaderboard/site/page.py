"""Build the leaderboard as a folder of static pages, which need no server and no network.

Values of records are escaped by Jinja2's autoescape, or embedded as JSON with escaped angle
brackets; file names consist of letters and a hash. The content security policy allows only the
inline script and style of the page.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...core.errors import InputError
from ...core.files import replacing
from .. import export
from ..claims.paper_claims import CLAIMS
from ..claims.verdicts import Finding, evaluate_claims
from ..entries import LeaderboardEntry, build_entries, group_by_task, task_label
from ..interval_basis import interval_basis_text, repeated_values
from ..panels import Panel, panels
from ..records import Model, Record, Task
from . import schedule_drawing, theme
from .forest_plot import forest
from .formats import breakable, embedded, file_name, score, short_id, si
from .introduction import Introduction
from .labels import metric_label
from .looks import model_looks
from .matrix import SHOWN, matrices
from .provenance import Provenance, provenance
from .study_charts import study_charts

MARK = ".growloop-site"  # file that marks a folder as a site, which may be replaced
EARLY = """\
"use strict"; // large tables are laid out once, after the script at the end has chosen their rows
document.documentElement.className = "js";
addEventListener("error", () => document.documentElement.classList.add("ready"));
"""
FAMILIES = {
    "standard": "standard",
    "looped": "looped",
    "grown": "grown",
    "grown-looped": "grown and looped",
    "retrofitted": "retrofitted",
    "untied": "untied",
    "unknown": "other",
}


def build(
    records: Iterable[Record],
    out: str | Path,
    title: str = "growloop leaderboard",
    source: str | Path | None = None,
    introduction: Introduction | None = None,
) -> Path:
    """Write the site and return its first page.

    Args:
        out: folder that does not exist, is empty, or holds an earlier site.
        source: folder that the records were read from; the page names its git commit.
        introduction: first part of the first page.

    Raises:
        InputError: the folder holds something else or cannot be written.
    """
    folder = Path(out).resolve()  # a link stays, the folder it points to is replaced
    _check_out(folder)
    try:
        with replacing(folder, folder=True) as part:
            _write(_Site(list(records), title, source, introduction), part)
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror}") from None
    return Path(out) / "index.html"


def _check_out(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise InputError(f"{folder} holds files that do not belong to a site: give another folder")


def _write(site: _Site, folder: Path) -> None:
    for name in ("models", "studies", "data"):
        (folder / name).mkdir()
    pages = {
        "index.html": site.index(),
        "claims.html": site.claims(),
        "methods.html": site.methods(),
    }
    pages |= {f"models/{site.files[key]}": site.model(key) for key in site.files}
    pages |= {f"studies/{file}": site.study(name) for name, file in site.studies.items()}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "data" / "records.jsonl").write_text(
        "".join(f"{record.to_json()}\n" for record in site.records), encoding="utf-8"
    )
    (folder / "data" / "leaderboard.json").write_text(
        export.as_json(site.entries), encoding="utf-8"
    )
    (folder / "data" / "leaderboard.csv").write_text(
        export.as_csv(site.entries), encoding="utf-8", newline=""
    )
    (folder / MARK).write_text("made by growloop leaderboard build\n", encoding="utf-8")


class _Site:
    """Render the pages of a set of records.

    Attributes:
        entries: entries of the leaderboard.
        files: model key -> file name of the model's page.
        studies: study name -> file name of the study's page.
        findings: verdicts on the paper's claims.
        looks: colour and shape of each model.
        origin: dates, content and commit of the records.
    """

    def __init__(
        self,
        records: list[Record],
        title: str,
        source: str | Path | None,
        introduction: Introduction | None,
    ) -> None:
        self.title = title
        self.introduction = introduction
        self.origin: Provenance = provenance(records, source)
        self.records = records
        self.entries = build_entries(records)
        self.files: dict[tuple[str, ...], str] = {}
        self.by_model: dict[tuple[str, ...], list[LeaderboardEntry]] = {}
        for entry in self.entries:
            self.files[entry.key] = file_name(entry.name, entry.key)
            self.by_model.setdefault(entry.key, []).append(entry)
        names = sorted({entry.first.study for entry in self.entries if entry.first.study})
        self.studies = {name: file_name(name, ("study", name)) for name in names}
        self.findings = evaluate_claims(records, CLAIMS)
        self.looks = model_looks(self.entries)
        environment = Environment(
            loader=PackageLoader("growloop.leaderboard.site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals |= {
            "site": self,
            "families": FAMILIES,
            "url": self.url,
            "site_task": task_label,
            "task_id": lambda task: short_id(task.key),
            "over_words": interval_basis_text,
            "version": _version(),
        }
        environment.filters |= {
            "si": si,
            "score": score,
            "embedded": embedded,
            "breakable": breakable,
        }
        self.environment = environment
        static = Path(__file__).parent / "static"
        self.style = theme.css() + (static / "style.css").read_text(encoding="utf-8")
        self.script = (static / "board.js").read_text(encoding="utf-8")

    def url(self, entry: LeaderboardEntry) -> str:
        """Return the page of an entry's model, relative to the first page."""
        return "models/" + self.files[entry.key]

    def index(self) -> str:
        """Render the first page."""
        evaluations = [entry for entry in self.entries if entry.first.study is None]
        ranked = panels(evaluations)
        places = list(enumerate(ranked))
        groups = sorted(
            group_by_task(evaluations), key=lambda group: _priority(group[1]), reverse=True
        )
        data = {
            "tasks": {short_id(task.key): _task(task, group) for task, group in groups},
            "points": {
                f"r{place}-{number}": self._point(panel, entry)
                for place, panel in places
                for number, entry in enumerate(panel.entries)
            },
        }
        models = {key for key in self.files if key[0] == "measured"}
        return self._page(
            "index.html.j2",
            groups=groups,
            measured_tasks=[group for group in groups if not _is_reported(group[1])],
            reported_tasks=[group for group in groups if _is_reported(group[1])],
            here=[(place, panel) for place, panel in places if not panel.reported],
            elsewhere=[(place, panel) for place, panel in places if panel.reported],
            data=data,
            forest=forest(self.findings),
            matrices=matrices(ranked),
            columns_shown=SHOWN,
            introduction=self.introduction,
            sizes=sorted({entry.model.size for entry in evaluations if entry.model.size}),
            shown_families=[f for f in FAMILIES if any(e.model.family == f for e in evaluations)],
            measured=len(models),
            reported=len(self.files) - len(models),
        )

    def _point(self, panel: Panel, entry: LeaderboardEntry) -> dict[str, Any]:
        """Data of an entry for the charts of the first page."""
        cost = entry.first.cost
        return {
            "task": short_id(panel.task.key),
            "scale": panel.scale,
            "label": entry.label,
            "url": self.url(entry),
            "family": entry.model.family,
            "colour": self.looks[entry.key].colour,
            "kind": entry.first.kind,
            "value": entry.value,
            "interval": entry.interval,
            "over": interval_basis_text(entry),
            "dots": repeated_values(entry),
            "x": [cost.unique_parameters, cost.inference_flops, entry.model.training_flops],
        }

    def model(self, key: tuple[str, ...]) -> str:
        """Render the page of a model."""
        selected = self.by_model[key]
        model: Model = selected[0].model
        return self._page(
            "model.html.j2",
            top="../",
            model=model,
            found=selected,
            by_study=_by_study(selected),
            heading=selected[0].name,
            schedule=schedule_drawing.draw_schedule(model.schedule),
            growth=schedule_drawing.draw_growth(model.growth),
            commands=list(
                dict.fromkeys(r.command for e in selected for r in e.records if r.command)
            ),
            notes=list(dict.fromkeys(r.note for e in selected for r in e.records if r.note)),
            seeds=sorted({r.model.seed for e in selected for r in e.records} - {None}),
            versions=next((e.first.versions for e in selected if e.first.versions), {}),
        )

    def study(self, name: str) -> str:
        """Render the page of a study."""
        selected = [entry for entry in self.entries if entry.first.study == name]
        names = list(dict.fromkeys(c for entry in selected for c in sorted(entry.first.conditions)))
        return self._page(
            "study.html.j2",
            top="../",
            name=name,
            found=selected,
            conditions=names,
            curves=study_charts(selected, self.looks),
            findings=[
                finding
                for finding in self.findings
                if finding.kind == "measured"
                and finding.verdict != "not run at this scale"
                and any(effect.comparison.study == name for effect in finding.effects)
            ],
            commands=list(
                dict.fromkeys(r.command for e in selected for r in e.records if r.command)
            ),
        )

    def methods(self) -> str:
        """Render the page that says what each number means."""
        return self._page("methods.html.j2")

    def claims(self) -> str:
        """Render the page of the claims."""
        by_claim: dict[str, list[Finding]] = {}
        for finding in self.findings:
            by_claim.setdefault(finding.claim.id, []).append(finding)
        return self._page("claims.html.j2", claims=CLAIMS, by_claim=by_claim)

    def _page(self, template: str, top: str = "", **values: Any) -> str:
        policy = (
            "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
            f"script-src '{_sha(EARLY)}' '{_sha(self.script)}'; style-src '{_sha(self.style)}'"
        )
        return self.environment.get_template(template).render(
            top=top,
            origin=self.origin,
            looks=self.looks,
            title=self.title,
            policy=policy,
            style=Markup(self.style),
            early=Markup(EARLY),
            script=Markup(self.script),
            **values,
        )


def _by_study(entries: Sequence[LeaderboardEntry]) -> list[tuple[str, list[LeaderboardEntry]]]:
    """Group the results of a model by study, plain evaluations (``""``) first."""
    groups: dict[str, list[LeaderboardEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.first.study or "", []).append(entry)
    return sorted(groups.items())


def _task(task: Task, group: Sequence[LeaderboardEntry]) -> dict[str, Any]:
    """Data of a task for the charts of the first page."""
    return {
        "label": task_label(task),
        "name": f"{task.name} {task.metric}",
        "better": 1 if task.higher_is_better else -1,
        "chance": task.chance,
        "unit": metric_label(task),
        "reported": _is_reported(group),
    }


def _is_reported(group: Sequence[LeaderboardEntry]) -> bool:
    """Return True if all entries are reported, none measured here."""
    return all(entry.first.kind == "reported" for entry in group)


def _priority(group: Sequence[LeaderboardEntry]) -> tuple[bool, bool, int, int]:
    """Sort key of tasks: several models measured here, the primitives suite, most models."""
    measured = sum(entry.first.kind == "measured" for entry in group)
    suite = group[0].task.name.startswith("reasoning_primitives")
    return measured > 1, suite, measured, len(group)


def _sha(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _version() -> str:
    try:
        return version("growloop")
    except PackageNotFoundError:
        return ""
