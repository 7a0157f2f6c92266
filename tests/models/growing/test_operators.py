"""Growth maps: the lists of the literature."""

from __future__ import annotations

import pytest
from growloop.core.errors import InputError
from growloop.models import GrowthMap, Schedule, growth_map
from growloop.models.growing.maps import growth_maps
from growloop.models.growing.registry import OPERATORS
from hypothesis import given
from hypothesis import strategies as st

LAYERS = Schedule.parse


def spelled(text: str) -> tuple[int, ...]:
    return Schedule.parse(text).layers


@pytest.mark.parametrize(
    ("depth", "contiguous", "inserted"),
    [
        (4, "0-3,0-3", "0-1,0-3,2-3"),
        (8, "0-5,2-7", "0-3,2-5,4-7"),
        (12, "0-7,4-11", "0-5,4-7,6-11"),
        (16, "0-9,6-15", "0-7,6-9,8-15"),
        (20, "0-11,8-19", "0-9,8-11,10-19"),
    ],
)
def test_lidas_copies_the_exact_middle(depth: int, contiguous: str, inserted: str) -> None:
    assert growth_map("lidas", depth).sources == spelled(contiguous)
    assert growth_map("lidas", depth, order="inserted").sources == spelled(inserted)


@pytest.mark.parametrize(
    ("depth", "sources"),
    [(4, "0-3,0-3"), (8, "0-3,0-3,4-7"), (12, "0-7,4-7,8-11"), (16, "0-7,4-7,8-15")],
)
def test_midas_copies_the_middle_block_right_after_itself(depth: int, sources: str) -> None:
    assert growth_map("midas", depth).sources == spelled(sources)


def test_a_map_of_fewer_layers_than_the_model_is_refused() -> None:
    for fewer in ("31", "8:24", "0-30,", Schedule.plain(31), list(range(31))):
        with pytest.raises(InputError, match="layers of 32, but growth removes none"):
            growth_map(fewer, 32)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"blocks of 8 and 23 layers .* or layers 8 to 23"):
        growth_map("8-23", 32)
    assert len(growth_map("0:24,8:32", 32)) == 48


def test_the_other_operators_are_those_of_the_literature() -> None:
    assert growth_map("gradual_stacking", 8).sources == spelled("0-7,4-7")
    assert growth_map("g_stack", 6, times=4).sources == spelled("0-5,0-5,0-5,0-5")
    assert growth_map("solar", 32, drop=8).sources == spelled("0-23,8-31")
    pro = growth_map("llama_pro", 32)
    assert len(pro) == 40
    assert pro.sources[:6] == (0, 1, 2, 3, 3, 4)
    assert pro.zeroed == (4, 9, 14, 19, 24, 29, 34, 39)


@pytest.mark.parametrize("given", ["0-7,4-11", Schedule.parse("0-7,4-11"), spelled("0-7,4-11")])
def test_any_list_of_layers_is_a_map(given: object) -> None:
    assert growth_map(given, 12).sources == spelled("0-7,4-11")  # type: ignore[arg-type]


@given(st.sampled_from(["midas", "lidas", "gradual_stacking"]), st.integers(1, 9), st.data())
def test_growth_by_blocks_adds_one_and_loses_no_layer(
    operator: str, block: int, data: st.DataObject
) -> None:
    depth = block * data.draw(st.integers(1, 8))
    found = growth_map(operator, depth, block_size=block)
    assert len(found) == depth + block
    assert set(found.sources) == set(range(depth))
    assert max(found.sources.count(layer) for layer in range(depth)) == 2
    assert [b - a for a, b in zip(found.sources, found.sources[1:], strict=False)].count(1) >= (
        depth + block - 1 - (2 if operator == "midas" else 1)
    )


@pytest.mark.parametrize("operator", ["lidas", "midas", "gradual_stacking"])
def test_growing_to_a_target_goes_block_by_block(operator: str) -> None:
    assert [len(step) for step in growth_maps(operator, 4, 24)] == [8, 12, 16, 20, 24]


def test_a_target_out_of_reach_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match="does not reach 10 layers from 4: the nearest are 8 and 12"
    ):
        growth_maps("lidas", 4, 10)
    with pytest.raises(InputError, match="does not grow"):
        growth_maps("solar", 16, 24, drop=8)


@pytest.mark.parametrize(
    ("operator", "depth", "options", "message"),
    [
        ("lidsa", 8, {}, "did you mean 'lidas'"),
        ("lidas", 8, {"drop": 2}, "unknown option of lidas 'drop'"),
        ("lidas", 8, {"order": "middle"}, "unknown order"),
        ("lidas", 3, {}, "hold no block of 4"),
        ("midas", 10, {}, "not a multiple of the block size 4"),
        ("solar", 8, {"drop": 8}, "drop must be"),
        ("0-8,", 8, {}, "needs 9 layers, the model has 8"),
        ("0-7,", 8, {"block_size": 4}, "takes no block_size"),
        ("0-7;", 8, {}, "character"),
        ("", 8, {}, "unknown growth operator"),
        (3.5, 8, {}, "a name, a function or a list"),
        ([0, -1], 8, {}, "a layer of a schedule"),
    ],
)
def test_what_cannot_grow_is_refused(
    operator: str, depth: int, options: dict[str, int | str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        growth_map(operator, depth, **options)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_has_a_sensible_default(operator: str) -> None:
    assert len(growth_map(operator, 16)) > 15


def test_a_zeroed_layer_must_exist() -> None:
    with pytest.raises(InputError, match="zeroed layer"):
        GrowthMap((0, 1), (2,))


def test_run_files_may_name_the_former_module_of_an_operator() -> None:
    named = growth_map("growloop.models.growing.maps:midas", 6, block_size=2)
    assert named.sources == growth_map("midas", 6, block_size=2).sources
