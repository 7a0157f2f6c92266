"""Score checkpoints and run studies on them, as leaderboard records.

Results are stored in files and reused by later calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.files import replacing, write_atomically
from ...core.strict_json import loads
from ..model_identity import changed, weights

if TYPE_CHECKING:
    from ...leaderboard import Record
    from ...leaderboard.site.introduction import Introduction
    from ..checkpoints import StudyModel
    from ..study import Study

WEIGHTS = "weights"  # field of a result file: digest of the model


def score_checkpoint(
    checkpoint: str | Path,
    tasks: Sequence[str],
    file: Path,
    *,
    shots: int,
    limit: int,
    device: str | None,
    command: str,
) -> list[Record]:
    """Score a checkpoint on tasks, unless ``file`` holds its results already.

    Args:
        file: result file of lm-eval.
        shots: examples in the prompt.
        limit: questions per task.
        command: command line, copied into the records.

    Raises:
        InputError: ``file`` holds the results of another model.
    """
    from ...leaderboard.harness import read

    if file.is_file():
        _check_model(file, str(checkpoint))
    else:
        results = _evaluate(checkpoint, tasks, shots, limit, device)
        results["growloop"] |= {"command": command}
        results.pop("samples", None)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(results, indent=1, default=str).encode())
    return read(file)


def score_with_samples(
    checkpoint: str | Path,
    tasks: Sequence[str],
    folder: Path,
    *,
    shots: int,
    limit: int,
    device: str | None,
    command: str,
) -> list[Record]:
    """Score a checkpoint on tasks, unless ``folder`` holds its results already.

    The folder is written whole, as ``growloop eval --out`` writes it: with the samples that paired
    comparisons (:func:`growloop.tasks.compare_results.compare_results`) need.

    Args:
        folder: folder of lm-eval's result file and samples.
        shots: examples in the prompt.
        limit: questions per task.
        command: command line, copied into the records.

    Raises:
        InputError: ``folder`` holds the results of another model, or other files.
    """
    from ...leaderboard.harness import read

    if not folder.is_dir():
        from ...tasks.results import save

        results = _evaluate(checkpoint, tasks, shots, limit, device)
        with replacing(folder, folder=True) as part:
            save(results, folder.name, part, command)
    files = sorted(folder.rglob("results_*.json"))
    if len(files) != 1:
        raise InputError(f"{folder} holds {len(files)} result files: move it away")
    _check_model(files[0], str(checkpoint))
    return read(files[0])


def _evaluate(
    checkpoint: str | Path, tasks: Sequence[str], shots: int, limit: int, device: str | None
) -> dict[str, Any]:
    """Evaluate a checkpoint; the results name the model and its weights."""
    from ...tasks.evaluate import evaluate
    from ..describe import Recorder

    recorder = Recorder(str(checkpoint))
    results = evaluate(
        recorder.path,
        tasks,
        shots=shots,
        limit=limit,
        device=device,
        dtype="float32",
        prepare=recorder,
    )
    assert results is not None
    recorder.note(results)
    results["growloop"] |= {WEIGHTS: weights(str(checkpoint))}
    return results


def _check_model(file: Path, checkpoint: str) -> None:
    """Refuse the results of another model. Results of earlier versions do not name their model."""
    try:
        stored = loads(file.read_text(encoding="utf-8"))["growloop"].get(WEIGHTS)
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # reported when the file is read
    if changed(checkpoint, stored):
        raise InputError(
            f"{file} was measured on another model than {checkpoint} holds now: "
            "move it away to score this one, or give another --out"
        )


def run_study(
    study: Study,
    paths: Sequence[str | Path],
    options: Callable[[Sequence[StudyModel]], Any],
    out: Path,
    *,
    device: str | None,
    command: str,
    dtype: str = "float32",
    watch: Callable[[float, str], object] = lambda share, word: None,
) -> list[Record]:
    """Run a study on checkpoints and return the records that the leaderboard publishes.

    Args:
        options: maps the models to the options of the study.
        out: folder of the study's own records.
        watch: progress callback, called with the fraction done and a word.
    """
    from .. import runner
    from ..checkpoints import read_models
    from ..publish import SELECTORS, leaderboard_records, modified_at
    from ..records import record_path

    models = read_models([str(path) for path in paths])
    study_options = options(models)
    cells = study.plan(models, study_options)
    files = [record_path(cell, out) for cell in cells]

    share = 0.0

    def say(text: str) -> None:
        nonlocal share
        word, _, _ = text.partition(":")
        if cell := re.fullmatch(r"(\d+) of (\d+)", word):  # other lines: progress of a training run
            share = (int(cell[1]) - 1) / int(cell[2])
        watch(share, word)

    records = runner.run_study(study, cells, study_options, out, command, say, dtype, device)
    if study.name not in SELECTORS:
        return []
    return leaderboard_records(records, max(map(modified_at, files)))


def build_page(
    records: Path, site: Path, title: str, introduction: Introduction | None = None
) -> Path:
    """Build the site of a record folder and the paper's results; return its first page."""
    from ...leaderboard import Store
    from ...leaderboard.paper import paper_rows
    from ...leaderboard.site import page

    return page.build([*Store(records).read(), *paper_rows()], site, title, records, introduction)
