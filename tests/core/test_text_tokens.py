"""Text becomes the same tokens wherever it is read: special tokens before it, none after it."""

from __future__ import annotations

from typing import Any

import pytest
from growloop.core.text_tokens import TokenizerError, encode, special_tokens, target_start, text_of
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from ..support.spelling import BOS, EOS, spelling


def both(tokenizer: Tokenizer) -> list[Any]:
    """A tokenizer as each of the two libraries has it."""
    return [tokenizer, PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS,
                                               eos_token=EOS)]  # fmt: skip


@pytest.mark.parametrize("metaspace", [False, True])
@pytest.mark.parametrize(
    ("added", "before", "after"),
    [
        ("$A", (), ()),
        (f"{BOS} $A", (0,), ()),
        (f"$A {EOS}", (), (1,)),
        (f"{BOS} $A {EOS}", (0,), (1,)),
        (f"{BOS} {BOS} $A {EOS} {EOS}", (0, 0), (1, 1)),
    ],
)
def test_a_text_gets_what_its_tokenizer_puts_before_it_and_nothing_after_it(
    added: str, before: tuple[int, ...], after: tuple[int, ...], metaspace: bool
) -> None:
    for tokenizer in both(spelling(added, metaspace)):
        found = special_tokens(tokenizer)
        assert (found.before, found.after) == (before, after)
        bare = encode(tokenizer, ["ab", "", "c d"], special=False)
        assert encode(tokenizer, ["ab", "", "c d"]) == [[*before, *tokens] for tokens in bare]
        assert encode(tokenizer, []) == []


def test_a_text_that_begins_with_its_special_tokens_gets_them_once() -> None:
    for tokenizer in both(spelling(f"{BOS} $A {EOS}")):
        assert encode(tokenizer, [f"{BOS}ab", "ab"])[0] == encode(tokenizer, ["ab"])[0]
        assert text_of(tokenizer, [0]) == BOS


def test_a_target_begins_with_the_token_that_is_merged_over_the_boundary() -> None:
    for tokenizer in both(spelling(f"{BOS} $A", more=(": 1", ": 2"))):
        [prompt, whole] = encode(tokenizer, ["a:", "a: 13"])
        start = target_start(prompt, whole)
        assert text_of(tokenizer, whole[start:]) == ": 13"
        assert text_of(tokenizer, whole[:start]) == f"{BOS}a"


def test_special_tokens_that_cannot_be_told_from_text_are_refused() -> None:
    silent = spelling(f"{BOS} $A")
    silent.normalizer = normalizers.Replace("a", "")
    assert special_tokens(silent).before == (0,)  # by another letter
    with pytest.raises(TokenizerError, match="cannot be told"):
        special_tokens(silent, ["aa"])
