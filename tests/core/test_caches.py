"""The cache goes by the name that the installed transformers has."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest
from growloop.core.caches import NAMES, cache_name, cache_of


@dataclass
class Old:
    """An output as it was until transformers 5.23."""

    logits: Any = None
    past_key_values: Any = None


@dataclass
class New:
    """An output since 5.24: the old name is there too, and warns."""

    logits: Any = None
    cache: Any = None

    @property
    def past_key_values(self) -> Any:
        raise FutureWarning("deprecated")


def old(ids: Any, past_key_values: Any = None, **more: Any) -> None: ...
def new(ids: Any, cache: Any = None, **more: Any) -> None: ...
def any_name(*args: Any, **kwargs: Any) -> None: ...


def test_an_output_gives_its_cache_under_either_name() -> None:
    assert cache_of(Old(past_key_values=1)) == cache_of(New(cache=1)) == 1
    assert cache_of(New()) is None


def test_a_call_gets_the_cache_under_the_name_that_it_takes() -> None:
    assert (cache_name(old), cache_name(new)) == ("past_key_values", "cache")
    assert cache_name(old, New()) == "past_key_values"  # a model with code of its own


def test_a_call_that_takes_anything_gets_the_name_in_the_output() -> None:
    assert (cache_name(any_name, Old()), cache_name(any_name, New())) == NAMES[::-1]
    with pytest.raises(AttributeError, match="cache or past_key_values"):
        cache_name(any_name)


def test_the_installed_models_take_and_return_it_under_one_name() -> None:
    llama = pytest.importorskip("transformers").LlamaForCausalLM
    calls = (llama.forward, llama.prepare_inputs_for_generation)
    [name] = {cache_name(call) for call in calls}
    assert all(name in inspect.signature(call).parameters for call in calls)
