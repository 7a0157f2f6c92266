"""Tokens that reach over the boundary of prompt and option: the text that was written is scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from growloop.core.errors import InputError
from growloop.tasks.evaluate import evaluate
from growloop.tasks.notes import ALIKE, MERGED, MISREAD
from growloop.tasks.scoring.checked_lm import CheckedLM
from growloop.tasks.scoring.encoding import encode, encode_pairs
from growloop.tasks.scoring.scorer import TrieLM
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from .. import tiny

MERGES = [("Ġ", "1"), ("Ġ", "2"), (":", "Ġ1"), (":", "Ġ2")]
MATH = "variable_assignment:style=math:low=10:high=25"
GIVEN: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose vocabulary has ": 1" and ": 2"."""
    return tiny.save("llama", tmp_path_factory.mktemp("merging"), merges=MERGES)


def asked(pairs: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, p, i, ("task", i, 1)) for i, p in enumerate(pairs)]


class Alone:
    """Scores by transformers and a few lines, one text at a time."""

    def __init__(self, folder: Path) -> None:
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def tokens(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def score(self, context: str, option: str, options: list[str]) -> float:
        """log p(whole text | what the context and all its options begin with in common)."""
        texts = [self.tokens(text) for text in (context, *(context + o for o in options))]
        common = 0
        while all(len(t) > common and t[common] == texts[0][common] for t in texts):
            common += 1
        whole = self.tokens(context + option)
        with torch.inference_mode():
            chances = self.model(torch.tensor([whole])).logits[0].log_softmax(-1)
        return float(sum(chances[i - 1, whole[i]] for i in range(common, len(whole))))


def test_options_that_begin_with_the_end_of_the_prompt_score_as_written(merging: Path) -> None:
    context, options = "What is the value of n? Answer:", [" 13", " 23", " 7", " 19"]
    right = [Alone(merging).score(context, option, options) for option in options]
    lm = TrieLM(pretrained=str(merging), **GIVEN)
    found = lm.loglikelihood(asked([(context, option) for option in options]), True)
    assert [score for score, _ in found] == pytest.approx(right, abs=1e-4)
    assert len(set(right)) == 4
    requests = encode_pairs(lm, [(context, option) for option in options])
    assert len({id(tokens) for _, tokens, _ in requests}) == 1  # one beginning for all


def test_numbers_of_a_task_of_ours_are_those_of_the_whole_texts(
    merging: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = evaluate(str(merging), [MATH], limit=4, shots=1, **GIVEN)
    assert results is not None
    [(task, samples)] = results["samples"].items()
    alone = Alone(merging)
    for sample in samples:
        pairs = [tuple(pair) for pair in sample["arguments"]]
        options = [option for _, option in pairs]
        right = [alone.score(*pair, options) for pair in pairs]
        found = [float(score) for score, _ in sample["filtered_resps"]]
        assert found == pytest.approx(right, abs=1e-4)
        assert len({round(score, 4) for score in found}) == len(found)
    count = sum(len(sample["arguments"]) for sample in samples)
    assert 0 < results["growloop"]["notes"][task][MERGED] <= count
    said = [r.getMessage() for r in caplog.records if "reaches over" in r.getMessage()]
    assert len(said) == 1
    assert task in said[0]


def test_lm_evals_own_backend_says_that_it_scores_other_texts(
    merging: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = evaluate(str(merging), [MATH], limit=4, shots=1, backend="hf", **GIVEN)
    assert results is not None
    [note] = results["growloop"]["notes"].values()
    assert note[MISREAD] > 0
    assert "lm-eval scores another text" in caplog.text


def test_without_such_tokens_nothing_is_noted(checkpoint: Callable[[str], Path]) -> None:
    for backend in ("growloop", "hf"):
        results = evaluate(
            str(checkpoint("llama")), [MATH], limit=2, shots=1, backend=backend, **GIVEN
        )
        assert results is not None
        assert "notes" not in results["growloop"]


@pytest.mark.parametrize(
    ("context", "option"),
    [
        ("a: 1", "3"),  # within the option
        ("a:", " 1"),  # all of the option in one token
        ("x :  ", "2"),  # spaces belong to the option
        (":", " 1"),  # nothing in common: after the prefix token
        ("日:", " 2本"),
    ],
)
def test_a_single_option_scores_as_the_whole_text(merging: Path, context: str, option: str) -> None:
    alone = Alone(merging)
    bare = context.rstrip()
    rest = context[len(bare) :] + option
    lm = TrieLM(pretrained=str(merging), **GIVEN)
    [(score, _)] = lm.loglikelihood(asked([(context, option)]), True)
    before, whole = alone.tokens(bare), alone.tokens(bare + rest)
    common = 0
    while common < min(len(before), len(whole)) and before[common] == whole[common]:
        common += 1
    if common == 0:
        whole, common = [256, *whole], 1
    with torch.inference_mode():
        chances = alone.model(torch.tensor([whole])).logits[0].log_softmax(-1)
    right = sum(float(chances[i - 1, whole[i]]) for i in range(common, len(whole)))
    assert score == pytest.approx(right, abs=1e-4)


def test_lm_evals_cut_is_kept_where_it_is_asked_for(merging: Path) -> None:
    lm = CheckedLM(pretrained=str(merging), **GIVEN)
    pairs = [("Answer:", " 13"), ("Answer:", " 23"), ("Answer:", " 7")]
    made = encode(lm, pairs, repair=False)
    for (_, context, option), pair in zip(made.requests, pairs, strict=True):
        assert (context, option) == TemplateLM._encode_pair(lm, *pair)
    assert made.merged == [0, 1]
    assert made.alike == [1]  # both are read as ":3"


def test_requests_with_and_without_context_are_scored_in_one_call(merging: Path) -> None:
    alone = Alone(merging)
    lm = TrieLM(pretrained=str(merging), **GIVEN)
    pairs = [("", " 13"), ("n:", " 13"), ("n:", " 7")]
    found = [score for score, _ in lm.loglikelihood(asked(pairs), True)]
    whole = [256, *alone.tokens(" 13")]
    with torch.inference_mode():
        chances = alone.model(torch.tensor([whole])).logits[0].log_softmax(-1)
    right = [sum(float(chances[i - 1, whole[i]]) for i in range(1, len(whole)))]
    right += [alone.score("n:", option, [" 13", " 7"]) for option in (" 13", " 7")]
    assert found == pytest.approx(right, abs=1e-4)


def test_an_end_that_the_tokenizer_puts_behind_every_text_is_no_part_of_it(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = checkpoint("llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    plain = TrieLM(pretrained=model, tokenizer=tokenizer)
    pairs = [("What is n?", " 13"), ("What is n?", " 7")]
    right = plain.loglikelihood(asked(pairs), True)
    ending = transformers.AutoTokenizer.from_pretrained(folder)
    ending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 256)]
    )
    assert ending("a")["input_ids"][-1] == 256
    lm = TrieLM(pretrained=model, tokenizer=ending)
    assert lm.loglikelihood(asked(pairs), True) == right


def test_options_that_are_the_same_tokens_are_told(
    checkpoint: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = checkpoint("llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    lm = TrieLM(pretrained=model, tokenizer=tokenizer)
    found = lm.loglikelihood(asked([("Who?", " US"), ("Who?", " us"), ("Who?", " we")]), True)
    assert found[0] == found[1] != found[2]
    assert lm.notes.of("task") == {ALIKE: 1}
    assert "the same tokens as another option" in caplog.text


def test_sentencepiece_like_tokens_merge_nothing(checkpoint: Callable[[str], Path]) -> None:
    folder = checkpoint("llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    words = [
        "<unk>",
        "<s>",
        "▁",
        "▁a",
        "▁b",
        "a",
        "b",
        ":",
        "▁1",
        "1",
        "3",
        *map(chr, range(99, 120)),
    ]
    vocabulary = [(word, -float(i)) for i, word in enumerate(words)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="<s>", unk_token="<unk>"
    )
    lm = TrieLM(pretrained=model, tokenizer=tokenizer)
    pairs = [("a b:", " 13"), ("a b:", " 1"), ("a b: ", "1"), ("a", "b")]
    made_requests = encode(lm, pairs)
    for (_, context, option), pair in zip(made_requests.requests, pairs, strict=True):
        assert (context, option) == TemplateLM._encode_pair(lm, *pair)
    assert made_requests.merged == []


def test_an_option_that_adds_no_token_is_refused(merging: Path) -> None:
    lm = TrieLM(pretrained=str(merging), **GIVEN)
    with pytest.raises(InputError, match="nothing to score"):
        lm.loglikelihood(asked([("a:", ""), ("a:", " 1")]), True)
