"""How often a step reads something from the device: a GPU has nothing to do meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from growloop.models.training.data.symbols import vocabulary
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse

from ...support.waiting import Waiting

STEPS = 3


@pytest.mark.parametrize("lessons", [False, True])
@pytest.mark.parametrize("parts", [1, 4])
def test_a_step_is_read_once_however_many_parts_it_has(
    tmp_path: Path, lessons: bool, parts: int
) -> None:
    tokenize([f"{i} and {i} " * 50 for i in range(40)], byte_tokenizer(), tmp_path / "a", "sums")
    data: dict[str, Any] = {"sources": {"a": str(tmp_path / "a")}, "seq_len": 32}
    if lessons:  # few targets, at different places: some logits are chosen, and losses by kind
        data = {"curriculum": [{"lessons": {"recall": 0.5, "assignment-1": 0.5}}], "seq_len": 512}
    run = {
        "name": "tiny",
        "steps": 100,
        "micro_batch_size": 16 // parts,
        "model": {"preset": "tiny", "options": {"vocab_size": len(vocabulary())}},
        "data": {**data, "batch_size": 16},
        "optimizer": {"warmup": 4},
        "checkpoints": {"every": 100},
    }
    engine = Engine(parse(run), tmp_path / "run")
    with Waiting() as waiting:
        for _ in range(STEPS):
            engine._one_step()
            engine.step += 1
    # the gradient's norm, with the losses; and a look of transformers at the positions of each part
    assert set(waiting.reads) == {"_local_scalar_dense"}
    assert waiting.reads["_local_scalar_dense"] <= STEPS * (1 + parts)
