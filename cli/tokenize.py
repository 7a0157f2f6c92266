"""Command ``growloop tokenize``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ..core.errors import InputError
from .command import Command
from .options import option, out_option


@click.command("tokenize", cls=Command)
@click.argument("source")
@out_option("folder for the shards", required=True)
@option(
    "--tokenizer",
    aliases=("-t",),
    default="bytes",
    show_default=True,
    help="hub id, folder or tokenizer.json; bytes; bpe:N, trained on SOURCE; or symbols",
)
@option("--field", default="text", show_default=True, help="column with the text")
@option("--split", default="train", show_default=True, help="split of a datasets folder or the hub")
@option("--end", help="token that ends a document  [default: the tokenizer's usual one]")
@option("--documents", type=int, default=20_000, show_default=True, help="documents a shard")
@option("--verify", is_flag=True, help="read the shards in --out and compare checksums")
def command(
    source: str,
    out: str,
    tokenizer: str,
    field: str,
    split: str,
    end: str | None,
    documents: int,
    verify: bool,
) -> None:
    """Write the tokens of SOURCE as memory-mapped shards.

    SOURCE is a text, JSONL or Parquet file, a folder of them, a folder written by datasets, or a
    data set on the hub (streamed; name:config). An interrupted job goes on where it stopped; one
    whose files, column or tokenizer have changed since is refused.

    \b
    Examples:
      growloop tokenize ./speeches --out shards/speeches --tokenizer bpe:4096
      growloop tokenize HuggingFaceFW/fineweb-edu:sample-10BT -o web --tokenizer gpt2
    """
    from ..tasks.evaluate import require_extra

    require_extra("train", "tokenizing")
    from ..models.training.data import documents as reading
    from ..models.training.data.shards import Shards
    from ..models.training.data.tokenization import choose_tokenizer, tokenize

    if verify:
        wrong = Shards(out).verify()
        if wrong:
            raise InputError("; ".join(wrong))
        click.echo(f"{out}: all right")
        return
    read = reading.read_by(source, field, split)

    def texts() -> Iterator[str]:
        return reading.documents(source, field, split, read.get("revision"))

    chosen = choose_tokenizer(tokenizer, texts, out)
    done = 0

    def progress(shard: object) -> None:
        nonlocal done
        done += shard.tokens  # type: ignore[attr-defined]
        click.echo(f"\r{done:,} tokens", nl=False, err=True)

    try:
        found = tokenize(texts(), chosen, out, source, end, documents, progress, read, _say)
    finally:
        if done:
            click.echo(err=True)
    click.echo(f"{out}: {len(found):,} tokens, {found.about['documents']:,} documents")


def _say(text: str) -> None:
    click.echo(text, err=True)
