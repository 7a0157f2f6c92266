"""Generation by lm-eval, with checks and notes: what ``--backend hf`` generates with.

Answers that leave no room for a prompt are refused; truncated prompts are noted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from lm_eval.models.utils import normalize_gen_kwargs
from torch import Tensor

from ...core.chat_templates import ChatTemplateError, rendered
from ...core.errors import InputError
from ...core.positions import Regimes, regimes, reset_rope_length
from ..lm_tokenization import SameTokens
from ..notes import CUT, SYSTEM, Notes

logger = logging.getLogger("growloop")

Step = list[float]
"""Log-probabilities of the tokens generated for a prompt."""


class CheckedGeneration(SameTokens):
    """``generate_until`` of lm-eval, with notes about truncated prompts.

    Prompts that leave no room for the answer are cut on the left, as in lm-eval, and counted. Texts
    whose length gives them other rotary frequencies do not share a batch (:mod:`core.positions`).
    """

    batch_size_per_gpu: Any
    cache_hook: Any
    _recorded: list[Step] | None = None  # destination of generated log-probabilities

    @cached_property
    def notes(self) -> Notes:
        """Notes for the results."""
        return Notes()

    @cached_property
    def regimes(self) -> Regimes | None:
        """Text lengths with the same rotary frequencies; None if these never depend on length."""
        return regimes(self.model)

    @cached_property
    def _cut(self) -> set[str]:
        """Prompts that were cut on the left."""
        return set()

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        found = self._generated(requests, disable_tqdm)
        self._note_cut(requests, [request.args[0] in self._cut for request in requests])
        return found

    def _generated(self, requests: Sequence[Any], quiet: bool) -> list[str]:
        """Generate by lm-eval; prompts that cannot share a batch one by one."""
        self._check_room(requests)
        self.check_embedded(self._tokens_of(requests))
        together = [i for i, request in enumerate(requests) if self._runs_together(request)]
        alone = sorted(set(range(len(requests))) - set(together))
        found: dict[int, str] = {}
        for members, batch in ((together, self.batch_size_per_gpu), (alone, 1)):
            if members:
                with self._batches_of(batch):
                    made = super().generate_until([requests[i] for i in members], quiet)
                found |= dict(zip(members, made, strict=True))
        if alone and together:
            self.notes.say(
                "positions of this model depend on the length of a text: "
                "long prompts are generated for one by one"
            )
        return [found[i] for i in range(len(requests))]

    def _tokens_of(self, requests: Sequence[Any]) -> Iterator[list[int]]:
        """Yield the tokens of each prompt, and the padding token."""
        for request in requests if self.backend == "causal" else ():
            yield self.tok_encode(request.args[0])
        if self.backend == "causal" and self.tokenizer.pad_token_id is not None:
            yield [self.tokenizer.pad_token_id]

    def _runs_together(self, request: Any) -> bool:
        """Return whether prompt and answer have the rotary frequencies of short texts."""
        if self.regimes is None:
            return True
        prompt, longest = len(self.tok_encode(request.args[0])), self._max_new_tokens(request)
        read = min(prompt, int(self.max_length) - longest) + longest
        return read <= self.regimes.short

    def _max_new_tokens(self, request: Any) -> int:
        """Return the largest number of tokens to generate."""
        return int(normalize_gen_kwargs(request.args[1], self.max_gen_toks)["max_gen_toks"])

    def _check_room(self, requests: Sequence[Any]) -> None:
        """Refuse answer lengths that fill the model's context."""
        if self.backend != "causal":
            return
        for request in requests:
            if (longest := self._max_new_tokens(request)) >= self.max_length:
                raise InputError(
                    f"an answer of {longest:,} tokens leaves no room for a prompt in the model's "
                    f"context of {self.max_length:,}"
                )

    @contextmanager
    def _batches_of(self, size: Any) -> Iterator[None]:
        """Generate in batches of ``size`` prompts inside a ``with`` block."""
        before, self.batch_size_per_gpu = self.batch_size_per_gpu, size
        try:
            yield
        finally:
            self.batch_size_per_gpu = before

    def _note_cut(self, requests: Sequence[Any], cut: Sequence[bool]) -> None:
        """Note the prompts that were cut on the left, per task."""
        tasks = [request.task_name or "a task" for request in requests]
        lost = Counter(task for task, was in zip(tasks, cut, strict=True) if was)
        for task, number in lost.items():
            self.notes.say(
                f"{number:,} of {tasks.count(task):,} prompts of {task} and their answers do not "
                f"fit into the model's context of {self.max_length:,} tokens: they lose their "
                "beginning"
            )
        self.notes.add(CUT, lost.elements())

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        if self.backend != "causal" or left_truncate_len is None:
            return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)
        # cut here, on the left: the tokenizer would drop the question, which comes last
        ids, mask = super().tok_batch_encode(strings, padding_side)
        lengths = mask.sum(1).tolist()
        self._cut.update(
            text
            for text, length in zip(strings, lengths, strict=True)
            if length > left_truncate_len
        )
        return ids[:, -left_truncate_len:], mask[:, -left_truncate_len:]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        made = self._rendered(chat_history, add_generation_prompt)
        rest = [message for message in chat_history if message["role"] != "system"]
        if len(rest) < len(chat_history) and made == self._rendered(rest, add_generation_prompt):
            self.notes.everywhere.add(SYSTEM)
            self.notes.say(
                "the model's chat template has no place for a system message: it is left out"
            )
        return made

    def _rendered(self, chat: list[dict[str, str]], prompt: bool) -> str:
        apply = super().apply_chat_template
        try:
            return rendered(lambda: apply(chat, prompt), "a question")
        except ChatTemplateError as error:
            raise InputError(str(error)) from error

    def _model_call(self, *args: Any, **options: Any) -> Tensor:
        if self.regimes is not None:
            reset_rope_length(self.model)
        return super()._model_call(*args, **options)  # type: ignore[no-any-return]

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **options: Any
    ) -> Tensor:
        if self.regimes is not None:
            reset_rope_length(self.model)
        if self._recorded is None:
            return super()._model_generate(context, max_length, stop, **options)  # type: ignore[no-any-return]
        options |= {"return_dict_in_generate": True, "output_logits": True}
        made: Any = super()._model_generate(context, max_length, stop, **options)
        chances = torch.stack(made.logits, 1).float().log_softmax(-1)  # (rows, steps, vocabulary)
        tokens = made.sequences[:, -chances.shape[1] :, None].to(chances.device)
        self._recorded.extend(chances.gather(2, tokens)[:, :, 0].tolist())
        sequences: Tensor = made.sequences
        return sequences
