"""What is not done as a task asks is said once, and stands in results and records."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.leaderboard.harness import records
from growloop.tasks.notes import CUT, SYSTEM, Notes, translate
from growloop.tasks.scoring import shared_prefixes
from growloop.tasks.scoring.checked_lm import CheckedLM
from growloop.tasks.scoring.scorer import TrieLM
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

Checkpoint = Callable[[str], Path]
EXAMPLES = "Question: what comes after a? Answer: b.\n\n" * 4
ENDS = ["Question: and c?", "Question: what of x, y and z? Answer:", "Question: and c? Q"]


def asked(texts: list[str], task: str = "task", size: int = 6) -> list[Any]:
    options = {"until": ["\n\n"], "max_gen_toks": size, "do_sample": False}
    return [
        Instance("generate_until", {}, (text, dict(options)), i, (task, i, 1))
        for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize("of", [TrieLM, CheckedLM])
@pytest.mark.parametrize("batch", [1, 3])
def test_prompts_that_lose_their_beginning_are_counted(
    checkpoint: Checkpoint, of: Any, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {"pretrained": str(checkpoint("llama")), "device": "cpu"}
    given |= {"dtype": "float32", "max_length": 60, "batch_size": batch}
    texts = ["a" * 54, "b" * 55, EXAMPLES + ENDS[0], EXAMPLES + ENDS[1], "short"]
    lm = of(**given)
    found = lm.generate_until(asked(texts), True)
    assert found == HFLM(**given).generate_until(asked(texts), True)
    assert lm.notes.of("task") == {CUT: 3}
    [said] = [r.getMessage() for r in caplog.records if "lose their" in r.getMessage()]
    assert said.startswith("3 of 5 prompts of task")
    lm.notes.clear()
    lm.generate_until(asked(["short", "a" * 54]), True)
    assert lm.notes.of("task") == {}


@pytest.mark.parametrize("of", [TrieLM, CheckedLM])
def test_truncation_keeps_the_question(checkpoint: Checkpoint, of: Any) -> None:
    given: dict[str, Any] = {"pretrained": str(checkpoint("llama")), "device": "cpu"}
    given |= {"dtype": "float32", "max_length": 60}
    lm = of(**given, truncation=True)
    lm.tokenizer.model_max_length = 60  # the tokenizer would cut on the right
    texts = [EXAMPLES + end for end in ENDS]
    assert lm.generate_until(asked(texts), True) == HFLM(**given).generate_until(asked(texts), True)
    assert lm.notes.of("task") == {CUT: 3}


@pytest.mark.parametrize("of", [TrieLM, CheckedLM])
def test_questions_that_were_cut_on_request_are_counted(checkpoint: Checkpoint, of: Any) -> None:
    lm = of(pretrained=str(checkpoint("llama")), device="cpu", max_length=60, truncation=True)
    pairs = [("a" * 80, " b"), ("a" * 20, " b"), ("", " b")]
    requests = [
        Instance("loglikelihood", {}, pair, i, ("task", i, 1)) for i, pair in enumerate(pairs)
    ]
    lm.loglikelihood(requests, True)
    assert lm.notes.of("task") == {CUT: 1}


@pytest.mark.parametrize("of", [TrieLM, CheckedLM])
def test_an_answer_without_room_for_a_prompt_is_refused(checkpoint: Checkpoint, of: Any) -> None:
    lm = of(pretrained=str(checkpoint("llama")), device="cpu", max_length=60)
    with pytest.raises(InputError, match="an answer of 60 tokens leaves no room for a prompt"):
        lm.generate_until(asked(["a"], size=60), True)


def test_a_model_that_shared_beginnings_do_not_suit_is_left_to_lm_eval(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def misplaced(common: int, real: int, width: int) -> torch.Tensor:
        return torch.arange(width)  # padding before what the cache holds

    given: dict[str, Any] = {"pretrained": str(checkpoint("llama")), "device": "cpu"}
    given |= {"dtype": "float32", "batch_size": 3}
    texts = [EXAMPLES + end for end in ENDS]
    right = HFLM(**given).generate_until(asked(texts), True)
    monkeypatch.setattr(shared_prefixes, "_after", misplaced)
    lm = TrieLM(**given)
    assert lm.generate_until(asked(texts), True) == right
    assert lm._sharing_agrees is False
    assert "shared beginnings do not suit this model" in caplog.text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_they_suit_is_tried_once_and_stays_what_it_was(
    checkpoint: Checkpoint, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = TrieLM(pretrained=str(checkpoint("llama")), device="cpu", dtype=dtype, batch_size=2)
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    tried, same = [], lm._same_alone
    monkeypatch.setattr(lm, "_same_alone", lambda r, c: tried.append(len(r)) or same(r, c))
    texts = [EXAMPLES + end for end in ENDS]
    for _ in range(2):
        lm.generate_until(asked(texts), True)
    assert tried == [3]
    assert lm._sharing_agrees
    for name, value in lm.model.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == getattr(torch, dtype)


GEMMA = (
    "{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}"
)
SILENT = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
WITH = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"
REFUSES = "{{ raise_exception('no') }}"


@pytest.mark.parametrize(("template", "told"), [(GEMMA, True), (SILENT, True), (WITH, False)])
def test_a_system_message_that_is_left_out_is_told(
    checkpoint: Checkpoint, template: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    lm = TrieLM(pretrained=str(checkpoint("llama")), device="cpu")
    lm.tokenizer.chat_template = template
    talk = [{"role": "system", "content": "Be brief. "}, {"role": "user", "content": "Hello"}]
    for _ in range(2):
        assert ("Be brief." not in lm.apply_chat_template(talk)) == told
    assert ("system message left out" in lm.notes.everywhere) == told
    assert caplog.text.count("no place for a system message") == int(told)
    lm.apply_chat_template(talk[1:])


def test_a_template_that_takes_no_question_is_refused(checkpoint: Checkpoint) -> None:
    lm = TrieLM(pretrained=str(checkpoint("llama")), device="cpu")
    lm.tokenizer.chat_template = REFUSES
    with pytest.raises(InputError, match="chat template refuses a question: no"):
        lm.apply_chat_template([{"role": "user", "content": "Hello"}])


def test_records_say_what_was_cut_and_left_out() -> None:
    notes = {"notes": {"coqa": {CUT: 3, "options alike": 2}}, "notes_everywhere": [SYSTEM]}
    results: dict[str, Any] = {
        "results": {"coqa": {"f1,none": 0.5}, "gsm8k": {"exact_match,none": 0.5}},
        "config": {"model_args": {"pretrained": "x"}},
    }
    plain = {r.task.name: r for r in records(copy.deepcopy(results))}
    found = {r.task.name: r for r in records(results | {"growloop": notes})}
    assert found["coqa"].task.prompting == "prompts cut: 3, system message left out"
    assert found["coqa"].note == "options alike: 2 requests"
    assert found["gsm8k"].task.prompting == "system message left out"
    assert found["gsm8k"].note is None
    assert plain["coqa"].task.prompting is None
    assert plain["coqa"].task.key != found["coqa"].task.key


def test_warnings_of_lm_eval_that_change_a_number_come_through_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ("lm_eval", "lm-eval")
    logs = [logging.getLogger(name) for name in names]
    before = [(log.level, log.propagate, list(log.handlers)) for log in logs]
    try:
        translate()
        log = logging.getLogger("lm_eval.evaluator")
        for _ in range(2):
            log.info(
                "num_fewshot has been set to 0 for %s in its config. Manual configuration will be "
                "ignored.",
                "squad",
            )
            log.warning("Overwriting default num_fewshot of squad from None to 3")
            log.error("something broke\nin a way of its own")
        said = [record.getMessage() for record in caplog.records]
    finally:
        for log, (level, propagate, handlers) in zip(logs, before, strict=True):
            log.setLevel(level)
            log.propagate, log.handlers = propagate, handlers
    assert said == [
        "squad is asked without examples, whatever --shots says: its own configuration says 0",
        "lm-eval: something broke",
    ]


def test_what_lm_eval_logs_is_still_what_is_translated() -> None:
    """The patterns are of the installed lm-eval."""
    import lm_eval
    from growloop.tasks.notes import MEANINGS

    folder = Path(lm_eval.__file__).parent
    source = "".join(path.read_text("utf-8") for path in sorted(folder.glob("*.py")))
    source += "".join(path.read_text("utf-8") for path in sorted((folder / "api").glob("*.py")))
    source += (folder / "models" / "huggingface.py").read_text("utf-8")
    for words in (
        "num_fewshot has been set to 0 for",
        "has_training_docs and has_validation_docs are False",
        "Label index was not in within range",
        "Metrics were not scored on the same number",
        "is missing in",
        "instruct or chat variant",
        "No chat template is set for this tokenizer",
        "Applied prompt returns empty string",
        "`max_length` in generation kwargs",
    ):
        assert words in source
    assert len(MEANINGS) == 9


def test_notes_count_by_task_and_kind() -> None:
    notes = Notes()
    assert notes.to_dict() == {}
    notes.add(CUT, ["a", "b", "a"])
    assert notes.to_dict() == {"notes": {"a": {CUT: 2}, "b": {CUT: 1}}}
    notes.clear()
    assert notes.to_dict() == {}
