"""From documents to token shards: in parallel, and resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..errors import ModelError, whole
from .shards import INDEX, Shard, Shards, finished_shard, write_index, write_shard, write_whole
from .symbols import symbol_tokenizer

JOB = "job.json"
TOKENIZER = "tokenizer.json"
DOCUMENTS = 20_000  # a shard
CHARACTERS = 64 << 20  # or so many characters, whatever comes first


def load_tokenizer(name: str) -> Any:
    """A fast tokenizer from a ``tokenizer.json``, a folder, or the hub.

    Raises:
        ModelError: none there.
    """
    from tokenizers import Tokenizer

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        if path.exists() or name.startswith((".", "/", "~")):
            raise ModelError(f"{name} holds no tokenizer.json")
        return Tokenizer.from_pretrained(name)
    except ModelError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"cannot read the tokenizer '{name}': {first}") from error


def choose_tokenizer(name: str, documents: Callable[[], Iterable[str]], out: str | Path) -> Any:
    """A tokenizer: ``bytes``, ``bpe:N`` trained on the documents, ``symbols``, or one that exists.

    One that was made for the same, unfinished shards is taken again.
    """
    if name == "symbols":
        return symbol_tokenizer()
    kind, _, size = name.partition(":")
    if kind not in ("bytes", "bpe"):
        return load_tokenizer(name)
    if kind == "bytes":
        return byte_tokenizer()
    if not size.isdecimal() or not 512 <= int(size) <= 10**6:
        raise ModelError(f"a trained tokenizer is bpe:N with N from 512 to 1000000, not {name}")
    if (Path(out) / TOKENIZER).is_file():
        found = load_tokenizer(str(out))
        if found.get_vocab_size() == int(size):  # else of another job, or the text has no more
            return found
    return train_bpe(documents(), int(size))


def byte_tokenizer() -> Any:
    """256 bytes and an end token; nothing is ever unknown."""
    return train_bpe([], 257)


def train_bpe(documents: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer; digits stand alone, so that numbers are alike."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def tokenizer_hash(tokenizer: Any) -> str:
    """What tells two tokenizers apart: a hash of all that decides their tokens."""
    fields = json.loads(tokenizer.to_str())
    for presentation in ("truncation", "padding"):
        fields.pop(presentation, None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def end_token(tokenizer: Any, given: str | None = None) -> int:
    """The token that ends a document.

    Raises:
        ModelError: the tokenizer has no such token.
    """
    usual = ("<|endoftext|>", "<eos>", "</s>", "<|end_of_text|>", "<|im_end|>")
    for name in usual if given is None else (given,):
        if (found := tokenizer.token_to_id(name)) is not None:
            return int(found)
    tried = ", ".join(usual) if given is None else given
    raise ModelError(f"the tokenizer has no token {tried}: name the end of documents (--end)")


def tokenize(
    documents: Iterable[str],
    tokenizer: Any,
    out: str | Path,
    source: str,
    end: str | None = None,
    shard_documents: int = DOCUMENTS,
    progress: Callable[[Shard], object] = lambda shard: None,
) -> Shards:
    """Write the tokens of documents, each followed by the end token, as shards.

    Interrupted, it goes on with the first shard that is not whole when called again with the same
    source and tokenizer. The tokenizer itself runs on all cores.

    Args:
        documents: in an order that does not change.
        tokenizer: of the ``tokenizers`` library.
        out: folder; must be empty, or hold the same job unfinished.
        source: what the documents are, for the index.
        end: text of the end token; by default the usual ones are tried.
        shard_documents: documents a shard.
        progress: called with each shard that is done.

    Raises:
        ModelError: no documents, another job in the folder, no end token.
    """
    folder = Path(out)
    whole("documents a shard", shard_documents, 1)
    if (folder / INDEX).is_file():
        raise ModelError(f"{out} holds finished shards already: give another folder")
    last = end_token(tokenizer, end)
    job = {
        "source": source,
        "tokenizer": tokenizer_hash(tokenizer),
        "vocabulary": tokenizer.get_vocab_size(),
        "end": last,
        "shard_documents": shard_documents,
    }
    texts = iter(documents)
    first = next(texts, None)  # what cannot be read fails before anything is written
    if first is None:
        raise ModelError(f"{source} holds no documents")
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, job)
    write_whole(folder / TOKENIZER, tokenizer.to_str(pretty=True).encode())
    shards: list[Shard] = []
    for number, part in enumerate(_parts(chain([first], texts), shard_documents)):
        shard = finished_shard(folder, number)
        if shard is None or shard.documents != len(part):
            encoded = tokenizer.encode_batch_fast(part, add_special_tokens=False)
            tokens = [[*encoding.ids, last] for encoding in encoded]
            shard = write_shard(folder, number, tokens, job["vocabulary"])
        shards.append(shard)
        progress(shard)
    write_index(folder, shards, job)
    (folder / JOB).unlink()
    return Shards(folder)


def _claim(folder: Path, job: dict[str, Any]) -> None:
    """Refuse a folder in which another job was begun."""
    path = folder / JOB
    if path.is_file():
        begun = json.loads(path.read_bytes())
        for name, value in job.items():
            if begun.get(name) != value:
                raise ModelError(
                    f"{folder} holds another unfinished job: its {name} is {begun.get(name)}, "
                    f"not {value}"
                )
    elif any(folder.iterdir()):
        raise ModelError(f"{folder} holds something already: give another folder")
    else:
        write_whole(path, json.dumps(job).encode())


def _parts(documents: Iterable[str], count: int) -> Iterator[list[str]]:
    """Documents in parts of ``count``, fewer where they are long."""
    source = iter(documents)
    while part := list(islice(source, 1)):
        size = len(part[0])
        for document in islice(source, count - 1) if size < CHARACTERS else ():
            part.append(document)
            size += len(document)
            if size >= CHARACTERS:
                break
        yield part
