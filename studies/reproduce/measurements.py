"""Scores and studies of checkpoints as records of the leaderboard: parts of something larger.

What was measured is in a file, and is not measured again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...models.training.data.shards import write_whole
from ..model_identity import changed, weights

if TYPE_CHECKING:
    from ...leaderboard import Record
    from ..checkpoints import StudyModel
    from ..study import Study

Say = Callable[[str], object]
WEIGHTS = "weights"  # identity of the model, in a file of results


def scored(
    checkpoint: str | Path,
    tasks: Sequence[str],
    file: Path,
    *,
    shots: int,
    limit: int,
    device: str | None,
    command: str,
) -> list[Record]:
    """Scores of a checkpoint; lm-eval's results are in ``file``.

    Args:
        limit: questions a task.

    Raises:
        InputError: the results there are of another model than the checkpoint is now.
    """
    from ...leaderboard.harness import read

    if file.is_file():
        _check_model(file, str(checkpoint))
    else:
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
        results["growloop"] |= {"command": command, WEIGHTS: weights(str(checkpoint))}
        results.pop("samples", None)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(results, indent=1, default=str).encode())
    return read(file)


def _check_model(file: Path, checkpoint: str) -> None:
    """Refuse results of another model; those of earlier versions do not say which it was."""
    try:
        was = json.loads(file.read_text(encoding="utf-8"))["growloop"].get(WEIGHTS)
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # refused where it is read
    if changed(checkpoint, was):
        raise InputError(
            f"{file} is of another model than {checkpoint} holds now: move it away to score this "
            "one, or give another --out"
        )


def studied(
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
    """What a study finds out about checkpoints, as far as it is for the leaderboard.

    Args:
        options: of the study, for these models.
        out: folder of the study's own records.
        watch: told of the share that is done, and a word.
    """
    from .. import runner
    from ..checkpoints import read_models
    from ..publish import SELECTORS, leaderboard_records, modified_at
    from ..records import record_path

    models = read_models([str(path) for path in paths])
    chosen = options(models)
    cells = study.plan(models, chosen)
    files = [record_path(cell, out) for cell in cells]

    share = 0.0

    def say(text: str) -> None:
        nonlocal share
        word, _, _ = text.partition(":")
        if cell := re.fullmatch(r"(\d+) of (\d+)", word):  # others tell how far a training is
            share = (int(cell[1]) - 1) / int(cell[2])
        watch(share, word)

    found = runner.run_study(study, cells, chosen, out, command, say, dtype, device)
    if study.name not in SELECTORS:
        return []
    return leaderboard_records(found, max(map(modified_at, files)))


def show(records: Path, site: Path, title: str) -> Path:
    """The page of a folder of records, with the paper's rows beside; its first file."""
    from ...leaderboard import Store
    from ...leaderboard.paper import paper_rows
    from ...leaderboard.site import page

    return page.build([*Store(records).read(), *paper_rows()], site, title)
