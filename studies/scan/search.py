"""Scan: race all candidates, combine the best, choose on validation items, report on test."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.strict_json import sealed
from .. import model_identity
from ..checkpoints import ModelLoader, StudyModel, check_device
from . import prices, probes
from .candidates import SHARED, Candidate, own
from .combine import Surrogate, expansions
from .folder import ScanFolder
from .items import ProbeItems, check_plain
from .measure import Meter
from .racing import BETS, fewest_items
from .report import gains, pareto, verdict
from .result import ScanResult
from .settings import Settings, parse_budget
from .stage import Estimate, Racer, Stage


def scan(
    model: str,
    *,
    out: str | Path | None = None,
    dtype: str = "bfloat16",
    device: str | None = None,
    say: Callable[[str], object] = lambda text: None,
    command: str = "",
    **settings: Any,
) -> ScanResult:
    """Find the layers of a model that are worth repeating.

    Args:
        model: hub id, folder, GGUF file or ``package:NAME``; plain, looped or grown.
        out: folder of the scan, where it goes on after a kill and which several processes may
            share; None for a temporary one.
        dtype, device: what the model is loaded to.
        say: receives progress messages.
        command: command line, kept in the result.
        settings: see :class:`Settings`.

    Raises:
        InputError: bad settings, a model that cannot be scanned, or probes on which nothing can be
            found.

    Example::

        result = scan("HuggingFaceTB/SmolLM2-135M", probes=("copying_real_words",), out="map")
        print(result.verdict)
        result.to_pandas().sort_values("margin_gain").tail()
    """
    given = Settings(**settings)
    check_device(device)
    names = probes.probe_names(given.probes)
    described = StudyModel.read(model)
    arms = given.listed(described.schedule)
    _check_items(given.items, given)
    with contextlib.ExitStack() as stack:
        if out is None:
            out = stack.enter_context(tempfile.TemporaryDirectory())
        folder = ScanFolder(out, _identity(model, described, names, given, dtype))
        loader = ModelLoader(dtype, device, say)
        search = _Search(model, described, given, names, folder, loader, say)
        return search.run(arms, command)


def _check_items(items: int, given: Settings) -> None:
    """Refuse too few items for a race.

    Raises:
        InputError: saying how many are needed.
    """
    if given.race != BETS:
        return
    if (least := fewest_items(given.alpha / given.blocks / given.top)) > items:
        raise InputError(
            f"{items} validation items are too few for a race: even a candidate that is always "
            f"wrong could not be told apart; {least} or more are needed"
        )


def _identity(
    model: str, described: StudyModel, names: Sequence[str], given: Settings, dtype: str
) -> dict[str, Any]:
    """Return what decides the numbers of a scan."""
    without = {"probes", "guards", "guard_limit", "budget", "text", "documents", "tokens", "report"}
    if (given.race, given.top) == (BETS, 1):  # earlier folders do not name them
        without |= {"race", "top"}
    added = {"kv", "max_gen_toks", "normalise"}  # earlier folders do not name them
    without |= {name for name in added if getattr(given, name) == getattr(Settings(), name)}
    options = {k: v for k, v in asdict(given).items() if k not in without}
    files = {n: probes.read_file(n) for n in names if Path(n).suffix in (".jsonl", ".json")}
    identity = {
        "model": described.name,
        "weights": model_identity.digest(model),
        "schedule": str(described.schedule),
        "probes": [probes.content_name(name, files.get(name)) for name in names],
        "options": options,
        "dtype": dtype,
        "growloop": version("growloop"),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


class _Search:
    """State of one scan."""

    def __init__(
        self,
        path: str,
        described: StudyModel,
        given: Settings,
        names: Sequence[str],
        folder: ScanFolder,
        loader: ModelLoader,
        say: Callable[[str], object],
    ) -> None:
        from ...tasks.questions import scorer

        self.path, self.described, self.given, self.names = path, described, given, names
        self.folder, self.loader, self.say = folder, loader, say
        model, tokenizer = loader(path)
        self.lm = scorer(model, tokenizer)
        self.meter = Meter(self.lm, given.clip)
        self.seconds, self.flops = parse_budget(given.budget)
        self.baseline_flops = 0.0

    def run(self, arms: Sequence[Candidate], command: str) -> ScanResult:
        """Search, report and write the result files."""
        given = self.given
        chosen_on = self._load(probes.VALIDATION, given.items)
        for probe in () if given.normalise else chosen_on:
            if note := probes.uneven(probe):
                self.say(f"note: {note}")
        self._check_kv(chosen_on)
        racer = Racer(self.meter, self.folder, chosen_on, given, self._within, self.say)
        _check_items(racer.count, given)  # a probe may have fewer than were asked for
        baseline = self._baseline(racer, chosen_on)
        alpha = given.alpha / given.blocks  # one race for the blocks, one a level of combinations
        stage = racer.race(arms, alpha, "blocks")
        if not stage.estimates:
            raise InputError(self._too_small(racer.first_round_flops(arms)))
        estimates = {e.candidate.name: e for e in stage.estimates}
        final, complete = self._combine(racer, stage, estimates, alpha)
        best = [final.leader] + [
            e.candidate for e in final.ranked if e.candidate not in (final.leader, arms[0])
        ]
        reported = [c for c in best[: given.report] if c.edit != "none"]
        fields: dict[str, Any] = {
            "format": "growloop scan result",
            "version": 1,
            "model": self.described.name,
            "path": self.path,
            "schedule": str(self.described.schedule),
            "depth": len(self.described.schedule),
            "dtype": str(self.meter.model.dtype).removeprefix("torch."),
            "device": str(self.meter.model.device),
            "probes": [probe.about or {"task": probe.name} for probe in chosen_on],
            "plain_accuracy": baseline,
            "candidates": len(estimates) - 1,
            "alive": [e.candidate.name for e in final.alive],
            "complete": complete,
            "validation_items": final.items,
            "chosen": final.leader.name,
            "chosen_schedule": str(final.leader.schedule),
            "chosen_applied": final.leader.applied,
            "chosen_kv": final.leader.kv,
            "chosen_blocks": [list(block) for block in final.leader.blocks],
            "extra_flops": self.meter.extra_flops(final.leader),
            "options": json.loads(json.dumps(asdict(given))),
            "command": command,
            "rows": self._rows(list(estimates.values())),
        }
        if reported:
            fields |= self._report(racer, [own(self.meter.base), *reported])
        fields["cost"] = self.folder.spent.to_dict()
        fields["verdict"] = verdict(fields)
        result = ScanResult(json.loads(json.dumps(fields)))  # the same as read from its file
        self.folder.write("result.json", json.dumps(sealed(fields), indent=1).encode())
        return result

    def _load(self, split: str, count: int) -> list[ProbeItems]:
        given = self.given
        return probes.load_items(
            self.lm, self.names, split, count, given.seed, given.shots, given.fixed_shots,
            given.max_gen_toks, given.normalise,
        )  # fmt: skip

    def _check_kv(self, chosen_on: Sequence[ProbeItems]) -> None:
        """Refuse shared keys and values where nothing is generated.

        Raises:
            InputError: a forward pass over a whole text reads each pass's own keys and values.
        """
        if SHARED in self.given.kv and not any(probe.generated for probe in chosen_on):
            raise InputError(
                "shared keys and values change nothing but generated text: give --kv shared with a "
                "task whose answers are generated"
            )

    def _within(self, flops: float) -> bool:
        """Return whether the budget allows so many FLOPs more, at the speed so far."""
        spent = self.folder.spent
        seconds = flops * (spent.seconds / spent.flops if spent.flops else 0.0)
        late = self.seconds is not None and spent.seconds + seconds > self.seconds
        return not late and not (self.flops is not None and spent.flops + flops > self.flops)

    def _too_small(self, flops: float) -> str:
        """Say what the first round of a race needs: without it there is no answer."""
        spent, flops = self.folder.spent, flops + self.baseline_flops
        needed = f"{1.05 * flops:.1e}flops"
        if self.seconds is not None:
            needed = f"about {flops * spent.seconds / spent.flops:.0f}s here"
        return f"the budget ends before all candidates have a score: a first answer needs {needed}"

    def _baseline(self, racer: Racer, chosen_on: Sequence[ProbeItems]) -> dict[str, float]:
        """Measure the model as it is, and refuse probes on which nothing can be found."""
        found = racer.scores([own(self.meter.base)], 0, racer.count, "the model as it is")
        if found is None:
            raise InputError("the budget ends before the model as it is was measured: give more")
        self.baseline_flops = self.folder.spent.flops
        accuracy = found[1][0].mean(axis=1).tolist()
        refusals: list[InputError] = []
        for probe, value in zip(chosen_on, accuracy, strict=True):
            try:
                check_plain(value, probe.chance, racer.count, probe.name)
            except InputError as error:
                refusals.append(error)
        if refusals and not self.given.allow_chance:
            if len(refusals) == len(chosen_on):
                raise refusals[0]
            for refusal in refusals:
                self.say(f"note: {refusal}")
        return {probe.name: value for probe, value in zip(chosen_on, accuracy, strict=True)}

    def _combine(
        self, racer: Racer, stage: Stage, estimates: dict[str, Estimate], alpha: float
    ) -> tuple[Stage, bool]:
        """Race combinations of the best blocks; return the last stage, and whether all is done."""
        given, base = self.given, self.meter.base
        singles = [e.candidate for e in stage.ranked if e.candidate.edit == "repeat"]
        singles = [c for c in singles if estimates[c.name].score_gain > 0][: 2 * given.beam]
        kept, final, complete = singles[: given.beam], stage, stage.complete
        for level in range(2, given.blocks + 1):
            if not kept or not given.beam or not complete:
                break
            surrogate = Surrogate(list(estimates.values()), len(base))
            new = expansions(base, kept, singles, surrogate, given.most_extra, given.beam)
            new = [c for c in new if c.name not in estimates]
            if not new:
                break
            arms = [own(base), *kept, *new]
            found = racer.race(arms, alpha, f"combinations of {level} blocks")
            if not found.estimates:
                return final, False
            estimates |= {e.candidate.name: e for e in found.estimates if e.candidate not in kept}
            complete = found.complete
            improved = found.leader in new or not complete
            final = found
            kept = [e.candidate for e in found.ranked if e.candidate.edit != "none"][: given.beam]
            if not improved:
                break
        return final, complete

    def _rows(self, estimates: Sequence[Estimate]) -> list[dict[str, Any]]:
        rows = [
            {
                "name": e.candidate.name,
                "edit": e.candidate.edit,
                "blocks": [list(block) for block in e.candidate.blocks],
                "applied": e.candidate.applied,
                "kv": e.candidate.kv,
                "schedule": str(e.candidate.schedule),
                "extra_flops": self.meter.extra_flops(e.candidate),
                **{k: v for k, v in vars(e).items() if k != "candidate"},
            }
            for e in estimates
        ]
        front = pareto(rows, "score_gain", "extra_flops")
        return [{**row, "pareto": on} for row, on in zip(rows, front, strict=True)]

    def _report(self, racer: Racer, some: Sequence[Candidate]) -> dict[str, Any]:
        """Measure candidates, the model as it is first, on test items, control and elsewhere."""
        given, fields = self.given, dict[str, Any]()
        racer.within = lambda flops: True  # the report is part of the answer, whatever the budget
        test = self._load(probes.TEST, given.test_items)
        fields["test"] = [gain.to_dict() for gain in self._gains(racer, some, test, "test")]
        fields["test_probes"] = [probe.about or {"task": probe.name} for probe in test]
        controls = probes.load_controls(
            self.lm, self.names, given.test_items, given.seed, given.shots, given.fixed_shots,
            given.normalise,
        )  # fmt: skip
        if controls:
            fields["control"] = self._gains(racer, some[:2], controls, "control")[0].to_dict()
        if given.text is not None:
            found = prices.held_out(self.meter, some[:2], given.text, given.documents, given.tokens)
            fields["held_out"] = {"plain": found[0]["nll"], **found[1]}
        if given.guards:
            dtype = str(self.meter.model.dtype).removeprefix("torch.")
            device = str(self.meter.model.device)
            fields["guards"] = prices.guard_scores(
                self.path, some[:2], given.guards, given.guard_limit, dtype, device
            )
        return fields

    def _gains(
        self, racer: Racer, some: Sequence[Candidate], items: Sequence[ProbeItems], kind: str
    ) -> list[Any]:
        found = racer.scores(some, 0, min(map(len, items)), kind, probes=items, kind=kind)
        assert found is not None
        return gains(some, items, *found)
