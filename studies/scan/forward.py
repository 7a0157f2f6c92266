"""Score a trie of tokens under a trie of programs in one pass: each distinct pair runs once.

The model's own forward pass runs the base schedule on a pack of tokens. Its hooks keep the states
that candidates branch off from, and the arguments (positions, masks) that each layer got. All other
candidates continue from those states, layer by layer, depth first; the head runs on the nodes that
predict an option. Log-probabilities are float32 whatever the model's dtype.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...core.errors import InputError
from ...models.diagnostics.trace import Call, evaluating
from ...models.looping.decoder import find_decoder
from ...models.looping.readout import Readout
from ...tasks.scoring.packed_weights import packed_weights
from ...tasks.scoring.transfer import to_device
from ...tasks.scoring.tree_attention import KeyValues, Pack, tree_attention
from ...tasks.scoring.trie import Trie
from .program import Mix, Node, Program, ProgramTrie

Floats = NDArray[np.float64]


class ProgramScan:
    """Scorer of requests under many programs of one model.

    Args:
        model: decoder without computation between its layers.
        base: program of the model's own schedule.
        budget: tokens of a pack.

    Attributes:
        layer_tokens: layer forwards times tokens, summed since the start.
        head_tokens: tokens that the head ran on.
    """

    def __init__(self, model: Any, base: Program, budget: int = 1024) -> None:
        self.model, self.base, self.budget = model, base, budget
        self.decoder = find_decoder(model)
        self.readout = Readout(model, self.decoder)
        self.layers = self.decoder.unique
        self.selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.layer_tokens = self.head_tokens = 0
        self._checked = False

    @torch.inference_mode()
    def run(
        self,
        trie: Trie,
        programs: Sequence[Program],
        progress: Callable[[float], object] = lambda share: None,
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Score the requests of a trie.

        Args:
            progress: called after each program of a pack with the share of the work it was.

        Returns:
            Summed log-probability of each request's continuation, ``(programs, requests)``, and
            whether greedy decoding gives it.

        Raises:
            InputError: a model that changes states between its layers, or whose output is NaN.
        """
        steps = ProgramTrie.build(self.base, programs)
        shape = len(programs), len(trie.places)
        log_probs, greedy = np.zeros(shape), np.zeros(shape, dtype=bool)
        start, path, past = 0, np.empty(0, dtype=np.int64), dict[int, KeyValues]()
        weights = packed_weights(self.model, len(trie) * len(programs), self.budget)
        with evaluating(self.model), weights, tree_attention(self.model) as eager:
            while start < len(trie):
                stop = min(start + self.budget, len(trie))
                pack = Pack(trie, start, stop, path, past, self.model.device, eager)
                share = (stop - start) / len(trie) / len(programs)
                self._pack(
                    trie, steps, pack, start, stop, log_probs, greedy,
                    functools.partial(_report, progress, share),
                )  # fmt: skip
                path, past = pack.next_path, pack.next_past
                start = stop
        sums = [trie.sums(*row) for row in zip(log_probs, greedy, strict=True)]
        totals = np.array([[total for total, _ in row] for row in sums])
        if not np.isfinite(totals).all():
            raise InputError("the model's output is not finite under one of the candidates")
        return totals, np.array([[exact for _, exact in row] for row in sums])

    def _pack(
        self,
        trie: Trie,
        steps: ProgramTrie,
        pack: Pack,
        start: int,
        stop: int,
        log_probs: Floats,
        greedy: NDArray[np.bool_],
        progress: Callable[[int], object],
    ) -> None:
        """Run a pack under every program and store log-probabilities of predicted tokens."""
        predicted = trie.predicted(start, stop)
        nodes, inverse = np.unique(trie.places[predicted], return_inverse=True)
        rows = to_device(nodes - start, self.model.device)
        targets = to_device(trie.targets[predicted], self.model.device)
        row = to_device(inverse, self.model.device)
        base = _BasePass(self, steps, pack)
        kept = rows if len(nodes) else to_device(np.zeros(1, dtype=np.int64), self.model.device)
        logits = base.run(trie, start, stop, kept)

        def store(node: Node, state: Tensor | None) -> None:
            progress(len(node.ends))
            if not len(nodes):
                return
            found = logits if state is None else self.readout(state[:, rows])[0]
            self.head_tokens += len(nodes)
            scores = found.float().log_softmax(-1)
            exact = (scores.argmax(-1)[row] == targets).cpu().numpy()
            values = scores[row, targets].double().cpu().numpy()
            for number in node.ends:
                log_probs[number, predicted], greedy[number, predicted] = values, exact

        if steps.base[-1].ends:
            store(steps.base[-1], None)
        if not self._checked and len(nodes):
            self._check(logits, base.states[len(self.base)][:, rows])
        for depth, node in enumerate(steps.base):
            if node.ends and node is not steps.base[-1]:  # the last layers are skipped
                store(node, base.states[depth])
            after = steps.base[depth + 1] if depth + 1 < len(steps.base) else None
            branches = {step: child for step, child in node.children.items() if child is not after}
            for step, child in branches.items():
                saved = {d: base.states[d] for d in steps.sources if d <= depth}
                self._follow(base, step, child, base.states[depth], saved, store)

    def _follow(
        self,
        base: _BasePass,
        step: Any,
        node: Node,
        state: Tensor,
        saved: dict[int, Tensor],
        store: Callable[[Node, Tensor], None],
    ) -> None:
        """Run a step and everything after it.

        Args:
            state: state before the step, ``(1, tokens, dim)``.
            saved: depth -> state on the way here, for mixes.
        """
        while True:
            state = self._step(base, step, node, state, saved)
            if node.depth in base.steps.sources:
                saved = {**saved, node.depth: state}
            if node.ends:
                store(node, state)
            if not node.children:
                return
            *others, last = node.children.items()
            for other_step, other in others:
                self._follow(base, other_step, other, state, saved, store)
            step, node = last  # not a recursion: states before it are freed

    def _step(
        self, base: _BasePass, step: Any, node: Node, state: Tensor, saved: dict[int, Tensor]
    ) -> Tensor:
        if isinstance(step, Mix):
            before = saved[step.start]
            return before + step.share * (state - before)
        self.layer_tokens += state.shape[1]
        with base.pack.running(iter([node.slot])):
            return base.call(step, state)

    def _check(self, logits: Tensor, last: Tensor) -> None:
        """Refuse a model whose logits are not its norm and head on the last state."""
        found = self.readout(last)[0].float()
        scale = 1e-3 if logits.dtype == torch.float32 else 5e-2
        difference = float((found - logits.float()).abs().max())
        if not difference <= scale * max(1.0, float(logits.abs().max())):
            raise InputError(
                "the logits of this model are not its final norm and head on its last state: its "
                "layers cannot be scanned"
            )
        self._checked = True


class _BasePass:
    """States and arguments of the model's own forward pass over a pack, for the candidates.

    Attributes:
        states: depth -> state of the base program, ``(1, tokens, dim)``.
    """

    def __init__(self, scan: ProgramScan, steps: ProgramTrie, pack: Pack) -> None:
        self.scan, self.steps, self.pack = scan, steps, pack
        self.states: dict[int, Tensor] = {}
        self.calls: dict[int, Call] = {}
        branching = {d for d, node in enumerate(steps.base) if len(node.children) > 1 or node.ends}
        self.needed = branching | steps.sources | {len(scan.base)}

    def run(self, trie: Trie, start: int, stop: int, rows: Tensor) -> Tensor:
        """Run the pass and return the logits of some rows, ``(rows, vocabulary)``."""
        scan, device = self.scan, self.scan.model.device
        ids = to_device(trie.tokens[None, start:stop], device)
        positions = to_device(trie.depth[None, start:stop], device)
        some = {"logits_to_keep": rows} if scan.selects else {}
        slots = iter([node.slot for node in self.steps.base[1:]])
        with self._watching(), self.pack.running(slots):
            logits: Tensor = scan.model(ids, position_ids=positions, use_cache=False, **some).logits
        scan.layer_tokens += len(scan.base) * (stop - start)
        return logits[0] if scan.selects else logits[0, rows]

    def call(self, layer: int, state: Tensor) -> Tensor:
        """Run a layer on a state, with the arguments that it got in the pass."""
        return self.calls[layer].run(self.scan.layers[layer], state)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Keep inputs, outputs and arguments of the layers inside a ``with`` block."""
        place = {id(layer): number for number, layer in enumerate(self.scan.layers)}
        order = iter(range(len(self.scan.base)))
        current = [0]
        last: list[Tensor | None] = [None]

        def before(layer: nn.Module, args: Any, kwargs: Any) -> None:
            depth = current[0] = next(order)
            name = None if args else "hidden_states"
            state = args[0] if args else kwargs[name]
            if last[0] is not None and state is not last[0] and not torch.equal(state, last[0]):
                raise InputError(
                    "this model changes states between its layers: they cannot be scanned"
                )
            if depth in self.needed:
                self.states[depth] = state
            step = self.scan.base[depth]
            assert isinstance(step, int)
            rest = {key: value for key, value in kwargs.items() if key != name}
            self.calls.setdefault(step, Call(name, args[1:], rest))
            assert place.get(id(layer), step) == step

        def after(layer: nn.Module, args: Any, output: Any) -> None:
            last[0] = output[0] if isinstance(output, tuple) else output
            if current[0] + 1 == len(self.scan.base):
                self.states[current[0] + 1] = output[0] if isinstance(output, tuple) else output

        with contextlib.ExitStack() as stack:
            for layer in self.scan.layers:
                handle = layer.register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(handle.remove)
                stack.callback(layer.register_forward_hook(after).remove)
            yield


def _report(progress: Callable[[float], object], share: float, programs: int) -> None:
    """Report the share of the work that some programs were."""
    progress(programs * share)
