"""From documents to token shards: in parallel, and resumable."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ....core.errors import InputError, whole
from ....core.files import write_atomically
from ....core.identity import differing, listed
from ....core.strict_json import loads, read_object, short
from ....core.text_tokens import encode, special_tokens, vocabulary_size
from .shards import INDEX, Shard, Shards, finished_shard, write_index, write_shard
from .symbols import symbol_tokenizer

JOB = "job.json"
JOB_FIELDS: dict[str, Any] = {
    "source": str, "tokenizer": str, "vocabulary": int, "end": int, "shard_documents": int,
    "special_tokens": (list, type(None)), "files": (dict, type(None)),
}  # fmt: skip
TOKENIZER = "tokenizer.json"
DOCUMENTS = 20_000  # a shard
CHARACTERS = 64 << 20  # or so many characters, whatever comes first


def load_tokenizer(name: str) -> Any:
    """A fast tokenizer from a ``tokenizer.json``, a folder, or the hub.

    Raises:
        InputError: none there.
    """
    from tokenizers import Tokenizer

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            found = Tokenizer.from_file(str(file))
        elif path.exists() or name.startswith((".", "/", "~")):
            raise InputError(f"{name} holds no tokenizer.json")
        else:
            found = Tokenizer.from_pretrained(name)
    except InputError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"cannot read the tokenizer '{name}': {first}") from error
    found.no_truncation()  # a file may say so, for another use
    found.no_padding()
    return found


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
        raise InputError(f"a trained tokenizer is bpe:N with N from 512 to 1000000, not {name}")
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
    return _fields_hash(tokenizer.to_str())


def tokenizer_file_hash(path: Path) -> str:
    """The same of a ``tokenizer.json``, whatever version of the library wrote it."""
    return _fields_hash(path.read_bytes())


def _fields_hash(text: str | bytes) -> str:
    try:
        fields = dict(loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"a tokenizer.json cannot be read: {short(str(error))}") from error
    for presentation in ("truncation", "padding"):
        fields.pop(presentation, None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def end_token(tokenizer: Any, given: str | None = None) -> int:
    """The token that ends a document.

    Raises:
        InputError: the tokenizer has no such token.
    """
    usual = ("<|endoftext|>", "<eos>", "</s>", "<|end_of_text|>", "<|im_end|>")
    for name in usual if given is None else (given,):
        if (found := tokenizer.token_to_id(name)) is not None:
            return int(found)
    tried = ", ".join(usual) if given is None else given
    raise InputError(f"the tokenizer has no token {tried}: name the end of documents (--end)")


def tokenize(
    documents: Iterable[str],
    tokenizer: Any,
    out: str | Path,
    source: str,
    end: str | None = None,
    shard_documents: int = DOCUMENTS,
    progress: Callable[[Shard], object] = lambda shard: None,
    read: Mapping[str, Any] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Shards:
    """Write the tokens of documents, each followed by the end token, as shards.

    A document begins with the special tokens that the tokenizer puts before a text, as it does
    where it is scored (:mod:`growloop.core.text_tokens`). Interrupted, the job goes on with the
    first shard that is not whole when called again with the same source and tokenizer. The
    tokenizer itself runs on all cores.

    Args:
        documents: in an order that does not change.
        tokenizer: of the ``tokenizers`` library.
        out: folder; must be empty, or hold the same job unfinished.
        source: what the documents are, for the index.
        end: text of the end token; by default the usual ones are tried.
        shard_documents: documents a shard.
        progress: called with each shard that is done.
        read: what decides the documents (:func:`.documents.read_by`).
        say: told what is worth a line.

    Raises:
        InputError: no documents, another job in the folder, no end token. Nothing that this call
            has written stays, but for finished shards of a data set on the hub.
        OSError: a shard cannot be written; the job goes on when called again.
    """
    folder = Path(out)
    whole("documents a shard", shard_documents, 1)
    if (folder / INDEX).is_file():
        raise InputError(f"{out} holds finished shards already: give another folder")
    last = end_token(tokenizer, end)
    job = {
        "source": source,
        "tokenizer": tokenizer_hash(tokenizer),
        "vocabulary": vocabulary_size(tokenizer),
        "end": last,
        "shard_documents": shard_documents,
        "special_tokens": list(special_tokens(tokenizer).before),
        **(read or {}),
    }
    texts = iter(documents)
    first = next(texts, None)  # what cannot be read fails before anything is written
    if first is None:
        raise InputError(f"{source} holds no documents")
    shards: list[Shard] = []
    with _taken_back(folder, lasting="revision" in job):
        job = _claim(folder, job, say)
        write_atomically(folder / TOKENIZER, tokenizer.to_str(pretty=True).encode())
        for number, part in enumerate(_parts(chain([first], texts), shard_documents)):
            shard = finished_shard(folder, number)
            if shard is None or shard.documents != len(part):
                encoded = encode(tokenizer, part, special=bool(job["special_tokens"]))
                shard = write_shard(
                    folder, number, [[*ids, last] for ids in encoded], job["vocabulary"]
                )
            shards.append(shard)
            progress(shard)
    if files := job.pop("files", None):
        sums = sorted((name, identity["sha256"]) for name, identity in files.items())
        job["content"] = hashlib.sha256(json.dumps(sums).encode()).hexdigest()
    write_index(folder, shards, job)
    (folder / JOB).unlink()
    return Shards(folder)


@contextlib.contextmanager
def _taken_back(folder: Path, lasting: bool) -> Iterator[None]:
    """Remove what is written inside when documents are refused: changed ones are another job.

    What was there before stays. So does all where the disk is full, or the job was interrupted.

    Args:
        lasting: finished shards stay too: the documents come from the hub, which may fail.
    """
    there = set(folder.iterdir()) if folder.is_dir() else None
    try:
        yield
    except ValueError:
        if lasting and any(folder.glob("shard-*.json")):
            raise
        for path in set(folder.iterdir()) - (there or set()) if folder.is_dir() else ():
            path.unlink()
        if there is None and folder.is_dir():
            folder.rmdir()
        raise


def _claim(folder: Path, job: dict[str, Any], say: Callable[[str], object]) -> dict[str, Any]:
    """The job of a folder: the one begun there, if it is the same.

    Raises:
        InputError: another one was begun there, or a file that it reads has changed.
    """
    path = folder / JOB
    if not path.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} holds something already: give another folder")
        write_atomically(path, json.dumps(job).encode())
        return job
    begun = read_object(path, **JOB_FIELDS)
    if not begun.keys() >= job.keys():
        say(f"the job in {folder} does not say what it read: that is taken to be the same")
    begun = {"special_tokens": []} | begun  # jobs of the time before wrote none
    files, were = job.get("files") or {}, begun.get("files") or {}
    if not all(isinstance(identity, dict) for identity in were.values()):
        raise InputError(f"{path} is damaged: files holds no identities")
    changed = differing(files, were) if files and were else []
    if changed and job["source"] == begun["source"]:
        raise InputError(
            f"{listed(changed)} of {job['source']} changed since the job in {folder} was begun: "
            "restore that, or give another folder"
        )
    passed = {"files", "special_tokens", *(() if changed or not (files and were) else ("source",))}
    for name in job:  # in its order: the first difference is named, always the same one
        if name in begun and name not in passed and begun[name] != job[name]:
            raise InputError(
                f"{folder} holds another unfinished job: its {name} is {short(begun[name])}, "
                f"not {short(job[name])}"
            )
    return job | {"special_tokens": begun["special_tokens"]}


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
