"""Tokenization of documents into shards: parallel and resumable."""

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
DOCUMENTS = 20_000  # most documents a shard
CHARACTERS = 64 << 20  # a shard also ends after this many characters


def load_tokenizer(name: str) -> Any:
    """Load a fast tokenizer from a ``tokenizer.json``, a folder, or the hub.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    from tokenizers import Tokenizer

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            tokenizer = Tokenizer.from_file(str(file))
        elif path.exists() or name.startswith((".", "/", "~")):
            raise InputError(f"{name} holds no tokenizer.json")
        else:
            tokenizer = Tokenizer.from_pretrained(name)
    except InputError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"cannot read the tokenizer '{name}': {first}") from error
    tokenizer.no_truncation()  # the file may set both, for another use
    tokenizer.no_padding()
    return tokenizer


def choose_tokenizer(name: str, documents: Callable[[], Iterable[str]], out: str | Path) -> Any:
    """Build or load a tokenizer by name.

    Args:
        name: ``bytes``, ``bpe:N`` (trained on the documents, N tokens), ``symbols``, or a name for
            :func:`load_tokenizer`.
        documents: called for the training documents.
        out: folder of the shards; a tokenizer that an unfinished job trained there is reused.

    Raises:
        InputError: N is out of range, or the tokenizer cannot be loaded.
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
        trained = load_tokenizer(str(out))
        if trained.get_vocab_size() == int(size):  # else another job's, or the text was too short
            return trained
    return train_bpe(documents(), int(size))


def byte_tokenizer() -> Any:
    """Build a tokenizer of 256 bytes and an end token."""
    return train_bpe([], 257)


def train_bpe(documents: Iterable[str], vocabulary: int) -> Any:
    """Train a byte-level BPE tokenizer; each digit is its own token."""
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
    """Hash all fields of a tokenizer that decide its tokens (SHA-256)."""
    return _fields_hash(tokenizer.to_str())


def tokenizer_file_hash(path: Path) -> str:
    """Hash a ``tokenizer.json`` as :func:`tokenizer_hash` does, for any version of the library."""
    return _fields_hash(path.read_bytes())


def _fields_hash(text: str | bytes) -> str:
    try:
        fields = dict(loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"a tokenizer.json cannot be read: {short(str(error))}") from error
    for name in ("truncation", "padding"):
        fields.pop(name, None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def end_token(tokenizer: Any, text: str | None = None) -> int:
    """Return the id of the token that ends a document.

    Args:
        text: text of the token; by default the first usual one that the tokenizer has.

    Raises:
        InputError: the tokenizer has no such token.
    """
    usual = ("<|endoftext|>", "<eos>", "</s>", "<|end_of_text|>", "<|im_end|>")
    for name in usual if text is None else (text,):
        if (token := tokenizer.token_to_id(name)) is not None:
            return int(token)
    tried = ", ".join(usual) if text is None else text
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
    """Tokenize documents into shards, each document followed by the end token.

    A document begins with the special tokens that the tokenizer puts before a text, as in scoring
    (:mod:`growloop.core.text_tokens`). After an interruption, call again with the same source and
    tokenizer to resume at the first missing or damaged shard. The tokenizer runs on all cores.

    Args:
        documents: documents, in an order that does not change.
        tokenizer: tokenizer of the ``tokenizers`` library.
        out: folder; empty, or with the same unfinished job.
        source: name of the source, for the index.
        end: text of the end token; by default the usual ones are tried.
        shard_documents: documents a shard.
        progress: callback for each finished shard.
        read: identity of the documents (:func:`.documents.read_by`).
        say: callback for progress messages, one line each.

    Raises:
        InputError: there are no documents or no end token, or the folder holds another job. Files
            of this call are removed, except finished shards of a data set on the hub.
        OSError: a shard cannot be written; call again to resume.
    """
    folder = Path(out)
    whole("documents a shard", shard_documents, 1)
    if (folder / INDEX).is_file():
        raise InputError(f"{out} holds finished shards already: give another folder")
    end_id = end_token(tokenizer, end)
    job = {
        "source": source,
        "tokenizer": tokenizer_hash(tokenizer),
        "vocabulary": vocabulary_size(tokenizer),
        "end": end_id,
        "shard_documents": shard_documents,
        "special_tokens": list(special_tokens(tokenizer).before),
        **(read or {}),
    }
    texts = iter(documents)
    first = next(texts, None)  # an unreadable source fails before anything is written
    if first is None:
        raise InputError(f"{source} holds no documents")
    shards: list[Shard] = []
    with _rolled_back(folder, keep_shards="revision" in job):
        job = _claim(folder, job, say)
        write_atomically(folder / TOKENIZER, tokenizer.to_str(pretty=True).encode())
        for number, part in enumerate(_parts(chain([first], texts), shard_documents)):
            shard = finished_shard(folder, number)
            if shard is None or shard.documents != len(part):
                encoded = encode(tokenizer, part, special=bool(job["special_tokens"]))
                shard = write_shard(
                    folder, number, [[*ids, end_id] for ids in encoded], job["vocabulary"]
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
def _rolled_back(folder: Path, keep_shards: bool) -> Iterator[None]:
    """Remove the files written inside the ``with`` block if the input is refused (ValueError).

    Earlier files stay. All files stay after other errors, such as a full disk or an interrupt.

    Args:
        keep_shards: keep everything once a shard is finished, for documents from the hub, which may
            fail at any time.
    """
    before = set(folder.iterdir()) if folder.is_dir() else None
    try:
        yield
    except ValueError:
        if keep_shards and any(folder.glob("shard-*.json")):
            raise
        for path in set(folder.iterdir()) - (before or set()) if folder.is_dir() else ():
            path.unlink()
        if before is None and folder.is_dir():
            folder.rmdir()
        raise


def _claim(folder: Path, job: dict[str, Any], say: Callable[[str], object]) -> dict[str, Any]:
    """Record the job of a folder, or return the recorded one if it is the same.

    Raises:
        InputError: the folder holds another job, or an input file changed since the job began.
    """
    path = folder / JOB
    if not path.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty: give another folder")
        write_atomically(path, json.dumps(job).encode())
        return job
    begun = read_object(path, **JOB_FIELDS)
    if not begun.keys() >= job.keys():
        say(f"the job in {folder} does not record its inputs: they are assumed to be the same")
    begun = {"special_tokens": []} | begun  # jobs of earlier versions did not record them
    files, recorded = job.get("files") or {}, begun.get("files") or {}
    if not all(isinstance(identity, dict) for identity in recorded.values()):
        raise InputError(f"{path} is damaged: files holds no identities")
    changed = differing(files, recorded) if files and recorded else []
    if changed and job["source"] == begun["source"]:
        raise InputError(
            f"{listed(changed)} of {job['source']} changed since the job in {folder} began: "
            "restore it, or give another folder"
        )
    same_files = bool(files and recorded) and not changed  # then the source may have moved
    ignored = {"files", "special_tokens", *(("source",) if same_files else ())}
    for name in job:  # in this order: the message always names the same difference
        if name in begun and name not in ignored and begun[name] != job[name]:
            raise InputError(
                f"{folder} holds another unfinished job: its {name} is {short(begun[name])}, "
                f"not {short(job[name])}"
            )
    return job | {"special_tokens": begun["special_tokens"]}


def _parts(documents: Iterable[str], count: int) -> Iterator[list[str]]:
    """Split documents into parts of ``count``, or fewer if they are long."""
    source = iter(documents)
    while part := list(islice(source, 1)):
        size = len(part[0])
        for document in islice(source, count - 1) if size < CHARACTERS else ():
            part.append(document)
            size += len(document)
            if size >= CHARACTERS:
                break
        yield part
