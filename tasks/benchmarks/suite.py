"""Run of the paper's suite: every task in turn.

Data are loaded and validated before the model. A missing data set leaves its column without a mean;
the other tasks run. Results are stored task by task (:mod:`.store`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.remote_code import trusted
from ...primitives import golden
from ..catalog import ITEMS, PATH, SHOTS
from ..evaluation_request import ModelSource, ScoringOptions, scoring_options
from ..scoring.processes import first
from .catalog import BENCHMARKS, NLL, Benchmark
from .dataset import MissingDataError, load
from .holdout import Likelihood, Text, likelihood, read_text
from .request import SuiteRequest
from .sources import DATASETS, HOLDOUT, check_folder
from .store import Store, TaskResult, contents_of, digest
from .summary import SuiteResult, summarise

SEED = 0  # seed of the primitives' items
PROMPTING = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn")
SEEDS = ("gen_kwargs", "fewshot_seed", "random_seed", "numpy_seed", "torch_seed")
Say = Callable[[str], None]


def run_suite(
    model: str,
    *,
    suite: str = "paper",
    data_dir: str | None = None,
    holdout: str | None = None,
    limit: int | None = None,
    out: str | Path = "results",
    variant: Mapping[str, Any] | None = None,
    prepare: Callable[[Any], object] | None = None,
    say: Say = lambda _: None,
    **scoring: Any,
) -> tuple[SuiteResult, Path] | None:
    """Score a model on the suite.

    Args:
        model: as lm-eval's ``pretrained``: a folder or a hub id.
        suite, data_dir, holdout, limit, out, variant: as :class:`SuiteRequest`.
        prepare: function that changes the loaded model in place.
        say: called with progress messages.
        scoring: fields of :class:`..evaluation_request.ScoringOptions`, such as ``device="cpu"``.

    Returns:
        The result and its file; None on all processes but the first.

    Raises:
        InputError: invalid arguments, or an invalid data file, with its line.
    """
    request = SuiteRequest(
        ModelSource(model, prepare),
        suite,
        data_dir,
        holdout,
        limit,
        out,
        variant or {},
        scoring_options(scoring),
    )
    return score_suite(request, say)


def score_suite(
    request: SuiteRequest, say: Say = lambda _: None
) -> tuple[SuiteResult, Path] | None:
    """Run a suite request; as :func:`run_suite`."""
    from ..answer_cache import answers_file
    from ..forwarded import forwarded
    from ..loading import local_files, model_arguments, require_extra

    source, scoring, data_dir = request.source, request.scoring, request.data_dir
    data, missing = _data(data_dir)
    text = _holdout(data_dir, request.holdout, request.limit, missing)
    arguments = model_arguments(source.name)
    options = forwarded(scoring.forwarded, local_files(arguments) is not None)
    if "samples" in options.harness:
        raise InputError("--suite fixes the questions: leave --samples out")
    require_extra()
    to_harness, to_model, effects = dict(options.harness), options.model, options.decisive()
    all_options = {**to_harness, **to_model, **effects}
    settings = {
        "model": _identity(arguments, to_model),
        "variant": dict(request.variant),
        "limit": request.limit,
        "dtype": scoring.dtype,
        "backend": scoring.backend,
        "options": {key: repr(value) for key, value in all_options.items() if key != "use_cache"},
        "lm_eval": version("lm-eval"),
    }
    store = Store(request.out, source.name, settings)
    done, nll = _finished(store, data, text)
    todo = [name for name in data if name not in done]
    if done:
        say(f"{len(done)} of {len(data)} tasks are in {store.folder} already")
    if todo or (text and nll is None):
        arguments |= {"batch_size": scoring.batch_size, **to_model}
        lm = _open(source, scoring, arguments)
        if "use_cache" in to_harness:
            to_harness["use_cache"] = answers_file(to_harness["use_cache"], lm, arguments, effects)
        metadata = {"growloop": {"options": effects, "backend": scoring.backend}}
        if text and nll is None:
            say(f"{NLL}: {len(text.documents):,} documents")
            nll = likelihood(lm, text)
            if first():
                store.save(NLL, text.fingerprint, nll)
        for name in todo:
            say(name)
            try:
                task_result = _score(
                    lm, BENCHMARKS[name], data_dir, request.limit, dict(to_harness), metadata
                )
            except InputError as error:  # e.g. too long for the model: other tasks may fit
                missing[name] = f"{name} cannot be scored: {error}"
                continue
            if task_result is not None:
                store.save(name, data[name], task_result)
                done[name] = task_result
    if not first():
        return None
    order = {name: done[name] for name in BENCHMARKS if name in done}
    result = summarise(source.name, settings, order, nll, missing)
    return result, store.write("suite.json", result.to_dict())


def _data(data_dir: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """Return data fingerprints of the tasks that can run, and why the others cannot."""
    if data_dir is not None:
        check_folder(data_dir)
    fingerprints: dict[str, str] = {}
    missing: dict[str, str] = {}
    read: dict[tuple[str, str], str] = {}
    for name, benchmark in BENCHMARKS.items():
        if benchmark.dataset is None:
            fingerprints[name] = str(golden()[name]["sha256"])
            continue
        prints = []
        try:
            for split in benchmark.splits:
                at = (benchmark.dataset, split)
                if at not in read:
                    read[at] = load(DATASETS[benchmark.dataset], split, data_dir).fingerprint
                prints.append(read[at])
        except MissingDataError as error:
            missing[name] = str(error)
            continue
        fingerprints[name] = digest([*prints, _definition(name)])
    return fingerprints, missing


def _definition(name: str) -> list[str]:
    """Return the text of a task's YAML file and of the files it includes."""
    folder = PATH / "paper"
    texts = [(folder / f"{name}.yaml").read_text("utf-8")]
    while texts[-1].startswith("include: "):
        texts.append((folder / texts[-1].splitlines()[0].split()[1]).read_text("utf-8"))
    return texts


def _holdout(
    data_dir: str | None, holdout: str | None, limit: int | None, missing: dict[str, str]
) -> Text | None:
    if holdout is not None:
        return read_text(holdout, limit)
    if data_dir is not None and (Path(data_dir) / HOLDOUT).exists():
        return read_text(Path(data_dir) / HOLDOUT, limit)
    where = f"{data_dir or 'DIR'}/{HOLDOUT}"
    missing[NLL] = (
        f"no held-out text: give --holdout with text or token shards, or write them into {where}"
    )
    return None


def _identity(arguments: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, str]:
    """Return the identity of a checkpoint: its content, or its commit on the hub."""
    name = str(arguments["pretrained"])
    if Path(name).is_dir():
        only = arguments.get("gguf_file")
        return {"name": Path(name).resolve().name, "contents": contents_of(Path(name), only)}
    from transformers import AutoConfig

    revision = str(options.get("revision", "main"))
    try:
        trust = bool(options.get("trust_remote_code", trusted()))
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust)
        commit = str(getattr(config, "_commit_hash", None))
    except Exception:  # loading the model raises the error
        commit = "None"
    return {"name": name, "contents": f"{revision}@{commit}"}


def _finished(
    store: Store, data: Mapping[str, str], text: Text | None
) -> tuple[dict[str, TaskResult], Likelihood | None]:
    results = {}
    for name, fingerprint in data.items():
        if saved := store.load(name, fingerprint):
            results[name] = TaskResult(**saved)
    nll = store.load(NLL, text.fingerprint) if text else None
    return results, Likelihood(**nll) if nll else None


def _open(source: ModelSource, scoring: ScoringOptions, arguments: dict[str, Any]) -> Any:
    from ..evaluate import quiet
    from ..loading import best_device, load_model

    quiet()
    defaults = {"dtype": scoring.dtype, "device": scoring.device or best_device()}
    arguments = defaults | arguments
    return load_model(source.name, scoring.backend, arguments, source.prepare, scoring.pack)


def _score(
    lm: Any,
    benchmark: Benchmark,
    data_dir: str | None,
    limit: int | None,
    options: dict[str, Any],
    run_metadata: Mapping[str, Any],
) -> TaskResult | None:
    """Score one task with lm-eval; None on all processes but the first."""
    from lm_eval.tasks import TaskManager

    from ..evaluate import harness, note_prompting
    from ..scoring.planning import Plan

    started = time.perf_counter()
    metadata = (options.pop("metadata", None) or {}) | {"data_dir": data_dir}
    if benchmark.dataset is None:
        plan = Plan({})
        plan.add(benchmark.task)
        tasks = plan.build(ITEMS, SEED, SHOTS, False)
        manager = TaskManager(include_defaults=False)
    else:
        manager = TaskManager(
            include_path=str(PATH / "paper"), include_defaults=False, metadata=metadata
        )
        tasks = [benchmark.task]
    lm.notes.clear()
    results = harness(lm, tasks, manager, limit=limit, log_samples=True, **options)
    lm.notes.gather(lm.world_size)
    if results is None:
        return None
    note_prompting(results, lm, options)
    prompting = {name: results[name] for name in PROMPTING}
    config = {name: results["config"].get(name) for name in SEEDS}
    config |= {"dtype": str(lm.model.dtype), "device": str(lm.device)}
    values = results["results"][benchmark.task]
    about = results["configs"][benchmark.task]["metadata"]["growloop"]
    stderr = values.get(f"{benchmark.metric}_stderr,{benchmark.filter}")
    samples = [s for s in results["samples"][benchmark.task] if s["filter"] == benchmark.filter]
    schedule = getattr(lm.model, "schedule", None)
    return TaskResult(
        task=benchmark.task,
        metric=benchmark.metric,
        value=float(values[f"{benchmark.metric},{benchmark.filter}"]),
        stderr=float(stderr) if isinstance(stderr, (int, float)) else None,
        n=len(samples),
        shots=int(results["n-shot"][benchmark.task]),
        source=about.get("source", "generated"),
        fingerprint=about["fingerprint"],
        rows=about.get("rows"),
        published=about.get("published"),
        schedule=None if schedule is None else str(schedule),
        seconds=round(time.perf_counter() - started, 1),
        told={**run_metadata, **prompting, "config": config},
        others={
            key: float(value)
            for key, value in values.items()
            if "," in key and "_stderr" not in key and isinstance(value, (int, float))
        },
        items=[_item(sample, benchmark.metric) for sample in samples],
        notes=lm.notes.of(benchmark.task),
    )


def _item(sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return the stored fields of a question."""
    item = {"id": sample["doc_id"], "hash": sample["doc_hash"], "value": float(sample[metric])}
    answer = sample["filtered_resps"]
    if answer and isinstance(answer[0], str):
        item["answer"] = answer[0]
    return item
