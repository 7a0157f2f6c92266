"""Command ``growloop inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InputError, one_of
from ..core.files import write_atomically
from ..tasks.loading import require_extra
from .checkpoints import load
from .command import Command
from .options import model_argument, option, picture_option, table_options, trust_option
from .schedules import looping, schedule_options
from .tables import Column, paragraph, print_csv, show, width

if TYPE_CHECKING:
    from torch import Tensor

SHADES = " ·░▒▓█"
PICTURES = (".svg", ".png", ".pdf", ".html", ".json")


@click.command("inspect", cls=Command)
@model_argument
@schedule_options
@option(
    "--seq-len",
    type=int,
    default=2048,
    show_default=True,
    help="sequence length of the FLOPs, in tokens",
)
@option("--block-size", type=int, help="layers a block  [default: 4, or fewer in a shallow model]")
@option("--config-only", is_flag=True, help="read the config alone; no similarity of layers")
@picture_option("write the similarity of layers")
@trust_option
@table_options("print all as JSON")
def command(
    model: str,
    schedule: str | None,
    block: str | None,
    repeats: int | None,
    seq_len: int,
    block_size: int | None,
    config_only: bool,
    picture: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show layers, schedule, parameters, FLOPs and layer similarity of MODEL.

    \b
    Examples:
      growloop inspect HuggingFaceTB/SmolLM2-135M
      growloop inspect ./checkpoint --block 6:10 --repeats 2 --config-only
      growloop inspect ./grown --picture layers.svg
    """
    if picture is not None:
        one_of("kind of picture", Path(picture).suffix, PICTURES)
        if config_only:
            raise InputError("--picture shows the weights: leave out --config-only")
        require_extra("plots", "a picture")
    require_extra("train", "a model")
    change = looping(schedule, block, repeats)
    from ..models.costs import cost

    if config_only:
        loaded = _empty(model)
    else:
        loaded, _ = load(model, "auto")
    if change is not None:
        change(loaded)
    facts = _facts(loaded, cost(loaded, seq_len=seq_len))
    similarity = None
    if not config_only:
        from ..models.similarity import block_similarity, layer_similarity

        similarity = layer_similarity(loaded)
        most = len(similarity) - 1
        if block_size is not None and not 1 <= block_size <= most:
            raise InputError(f"--block-size must be from 1 to {most} here, not {block_size}")
        if most >= 1:
            block_size = block_size or min(4, most)
            facts["block_size"] = block_size
            facts["similarity_one_block_apart"] = round(block_similarity(similarity, block_size), 4)
    if picture is not None and similarity is not None:
        _draw(similarity, model, picture)
    if as_json:
        matrix = None if similarity is None else [[round(x, 4) for x in row]
                                                  for row in similarity.tolist()]  # fmt: skip
        click.echo(json.dumps({"model": model, **facts, "similarity": matrix}, indent=2))
        return
    if as_csv:
        print_csv([{"model": model, **facts}])
        return
    _print(model, facts)
    if similarity is not None:
        _heatmap(similarity)


def _empty(model: str) -> Any:
    """Build a model without its weights, on the meta device."""
    from ..tasks.evaluate import model_arguments

    where = model_arguments(model)
    from ..models import checkpoints

    return checkpoints.empty(checkpoints.load_config(where.pop("pretrained"), **where))


def _facts(model: Any, cost: Any) -> dict[str, Any]:
    from ..models.looping.decoder import decoder_config, find_layers
    from ..models.looping.native import NativeLoops

    config = decoder_config(model.config)
    found = find_layers(model)
    schedule = cost.schedule
    facts = {
        "architecture": type(model).__name__,
        "layers_at": found.path,
        "unique_layers": len(found.unique),
        "schedule": str(schedule),
        "effective_depth": schedule.effective_depth,
        "hidden_size": config.hidden_size,
        "heads": config.num_attention_heads,
        "vocabulary": config.vocab_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "unique_parameters": cost.unique_parameters,
        "stored_parameters": cost.stored_parameters,
        "unique_non_embedding": cost.unique_non_embedding,
        "effective_parameters": cost.effective_parameters,
        "effective_non_embedding": cost.effective_non_embedding,
        "seq_len": cost.seq_len,
        "forward_flops_per_token": cost.forward_flops,
        "attention_share": round(cost.attention_flops / cost.forward_flops, 4),
        "training_flops_per_token": cost.training_flops,
    }
    if isinstance(found, NativeLoops):
        facts["loops_by_itself"] = f"{found.field} {found.loops}"
    for name in ("growth_history", "untied_from", "recurrence"):
        if value := getattr(model.config, name, None):
            facts[name] = value
    return facts


def _print(model: str, facts: dict[str, Any]) -> None:
    rows = []
    for name, value in facts.items():
        if name == "growth_history":
            value = ", ".join(f"{s['operator']} {s['from']}→{s['to']} ({s['sources']})"
                              for s in value)  # fmt: skip
        elif isinstance(value, float) and value > 1e4:
            value = f"{value:.4g}"
        elif isinstance(value, int):
            value = f"{value:,}"
        rows.append([name.replace("_", " "), str(value)])
    show([Column(""), Column("")], rows, model)


def _heatmap(similarity: Tensor) -> None:
    """Print the cosine similarity of layers, ``(layers, layers)``, as shaded characters."""
    count = len(similarity)
    apart = similarity.clone().fill_diagonal_(0).clamp_min(0)
    top = max(float(apart.max()), 0.1)  # noise shall look like noise
    click.echo()
    paragraph(f"cosine similarity of weights, layer by layer: ' ' 0 to '█' {top:.2f}")
    room = (width() or 4 + 2 * count) - 4
    wide = 2 if room >= 2 * count else 1  # characters a pair
    if room < count:
        paragraph(f"({count} layers need {count + 4} columns; --picture or --json shows them)")
        return
    numbers = "".join(f"{i:<{5 * wide}}" for i in range(0, count, 5))
    click.echo(f"    {numbers.rstrip()}")
    for i, row in enumerate(apart.tolist()):
        shades = (SHADES[round(value / top * (len(SHADES) - 1))] for value in row)
        cells = "".join(("╲" if i == j else shade) * wide for j, shade in enumerate(shades))
        click.echo(f"{i:3} {cells.rstrip()}")


def _draw(similarity: Tensor, model: str, picture: str) -> None:
    from ..studies.measure.charts import content

    try:
        import altair as alt
    except ImportError as error:
        raise InputError("a picture needs altair: pip install 'growloop[plots]'") from error
    data = [
        {"layer": i, "other": j, "similarity": round(value, 4)}
        for i, row in enumerate(similarity.tolist())
        for j, value in enumerate(row)
        if i != j
    ]
    top = max((row["similarity"] for row in data), default=0.0)
    values: Any = alt.Data(values=data)  # type: ignore[no-untyped-call]
    chart = (
        alt.Chart(values, title=f"cosine similarity of weights, {model}")
        .mark_rect()
        .encode(
            x=alt.X("other:O", title="layer"),
            y=alt.Y("layer:O", title="layer"),
            # noise shall look like noise
            color=alt.Color(
                "similarity:Q",
                scale=alt.Scale(scheme="viridis", domain=[0, max(0.1, top)], clamp=True),
            ),
        )
        .properties(width=420, height=420)
    )
    write_atomically(picture, content(chart, Path(picture).suffix))
    click.echo(picture, err=True)
