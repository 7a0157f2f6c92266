"""Set-up of a run from its run file: model, batches, tokenizer, and checks that they fit."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ...core.errors import InputError
from ...core.schedule import check_whole
from ...core.text_tokens import check_embedded
from .. import checkpoints
from ..growing.grow import untie
from ..looping.decoder import decoder_config, find_decoder
from ..looping.loop import loop
from ..looping.recurrence import Recurrence
from ..presets import build, preset
from . import adapters
from .data.batches import Batch, Source
from .data.chats import read_template
from .data.curriculum import Curriculum
from .data.examples import Examples
from .data.mixture import Mixture, Phase
from .data.rows import read_examples
from .data.shards import Shards
from .optim.objective import losses
from .runfile import Run

WINDOWS = 64  # most sequences of validation shards in the held-out loss


def first_model(run: Run, vocabulary: int | None = None) -> PreTrainedModel:
    """Build the model before the first step; without weights under ``torch.device("meta")``.

    Args:
        vocabulary: vocabulary size of a preset whose run file sets none.
    """
    recurrence = Recurrence.from_dict(run.model.recurrence)
    if run.model.path is not None:
        if torch.get_default_device().type == "meta":
            model = checkpoints.empty(checkpoints.load_config(run.model.path))
        else:
            model = checkpoints.load(run.model.path, dtype=torch.float32)
        if run.model.untie:
            untie(model)
    else:
        assert run.model.preset is not None
        options = dict(run.model.options)
        if vocabulary is not None:
            options.setdefault("vocab_size", vocabulary)
        if run.growth is not None:
            options["num_hidden_layers"] = run.growth.block_size
            model = build(run.model.preset, seed=run.seed, **options)
        else:
            model = build(run.model.preset, run.model.schedule, run.seed, **options)
    if run.growth is None and run.model.schedule is not None and run.model.path is not None:
        check_whole(run.model.schedule, len(find_decoder(model).unique))
        loop(model, run.model.schedule)
    if run.model.recurrence:
        loop(model, recurrence=recurrence)
    if run.model.lora is not None:
        adapters.attach(model, run.model.lora, run.seed)
    return model


def final_depth(run: Run, depth: int) -> int:
    """Return the depth at the end of the run: that of the preset if it grows, else ``depth``."""
    if run.growth is None or run.model.preset is None:
        return depth
    layers: int = preset(run.model.preset, **run.model.options).num_hidden_layers
    return layers


def vocabulary_of(run: Run, source: Source) -> int | None:
    """Return the vocabulary size of the shards; None for a run on other data."""
    return source.vocabulary if run.data.sources else None


def source_of(run: Run, special: bool = True) -> Source:
    """Build the source of a run's batches: curriculum, examples or mixture of shards.

    Args:
        special: begin examples with the special tokens that the tokenizer puts before a text.

    Raises:
        InputError: the data cannot be read, or ``model.path`` has no tokenizer for examples.
    """
    data = run.data
    phases = [Phase(e.step, e.mixture) for e in run.events if e.mixture is not None]
    phases.sort(key=lambda phase: phase.start)
    if data.curriculum:
        return Curriculum(
            data.curriculum, data.batch_size, data.seq_len, run.seed, phases, run.steps
        )
    if data.examples is not None:
        assert run.model.path is not None
        tokenizer = checkpoints.load_tokenizer(run.model.path)
        if tokenizer is None:
            checkpoints.load_config(run.model.path)  # clearer error if there is no checkpoint
            raise InputError(f"{run.model.path} has no tokenizer, which examples need")
        if data.chat_template is not None:
            tokenizer.chat_template = read_template(data.chat_template)
        return _examples(run, data.examples, tokenizer, special)
    sources = {name: Shards(folder) for name, folder in data.sources.items()}
    if not phases or phases[0].start > 0:
        phases.insert(0, Phase(0, data.shares()))
    return Mixture(sources, phases, data.batch_size, data.seq_len, run.seed)


def held_out(run: Run, source: Source) -> list[Batch]:
    """Batches of the held-out loss: the first windows of shards, or all examples.

    Raises:
        InputError: validation data do not match the training data.
    """
    path = run.data.validation
    if path is None:
        return []
    if isinstance(source, Examples):
        examples = _examples(run, path, source.saved, bool(source.special))
        if examples.about != source.about:
            validated, trained = examples.about["columns"], source.about["columns"]
            raise InputError(
                f"{path} has the columns {validated}, {run.data.examples} has {trained}"
            )
        examples.pack = source.pack
        return examples.all().parts(run.micro_batch_size or 1)
    shards, length = Shards(path), run.data.seq_len
    assert isinstance(source, Mixture)
    if shards.tokenizer != next(iter(source.sources.values())).tokenizer:
        raise InputError(f"the validation shards {path} were made with another tokenizer")
    if shards.special != source.special:
        raise InputError(
            f"documents of the validation shards {path} begin with special tokens "
            f"{list(shards.special)}, those of the sources with {list(source.special)}: tokenize "
            "one of them again"
        )
    count = max(1, min(WINDOWS, (len(shards) - 1) // length))
    rows = [shards.window(i * length, length + 1)[None] for i in range(count)]
    return [Batch(row[:, :-1], row[:, 1:], length) for row in rows]


def _examples(run: Run, path: str, tokenizer: Any, special: bool) -> Examples:
    data, examples = run.data, read_examples(path, run.data.columns)
    if data.chat_template is not None and not examples.chats:
        raise InputError(
            f"a chat template is for messages: {path} holds texts ({examples.columns})"
        )
    arguments = (data.batch_size, data.seq_len, run.seed, data.pack, data.delimiter, special)
    return Examples(examples, tokenizer, *arguments)


@torch.no_grad()
def packs_without_leakage(model: PreTrainedModel, source: Examples) -> bool:
    """Return whether packing is safe: two packed examples have the losses of separate rows.

    Examples leak into each other in architectures whose masks or states ignore position ids.
    """
    training = model.training
    model.eval()
    try:
        a, b = (losses(model, batch, model.device) for batch in source.pair())
    except TypeError:  # its forward takes no position ids
        return False
    finally:
        model.train(training)
    return bool(torch.allclose(a, b, rtol=1e-3, atol=1e-3))


def saved_tokenizer(source: Source) -> Any:
    """Return a Hugging Face tokenizer to save in checkpoints; None if the source has none."""
    tokenizer = source.tokenizer()
    if tokenizer is None or isinstance(tokenizer, PreTrainedTokenizerBase):
        return tokenizer
    end = tokenizer.id_to_token(source.end)
    begin = tokenizer.id_to_token(source.special[-1]) if source.special else end
    names = {"eos_token": end, "bos_token": begin, "pad_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def check_fits(run: Run, model: PreTrainedModel, source: Source) -> None:
    """Refuse a model whose vocabulary does not fit the data.

    Raises:
        InputError: the model has too few embeddings, or its tokenizer is not that of the data.
    """
    if run.model.path is not None and isinstance(source, Mixture):
        of_model, of_data = checkpoints.load_tokenizer(run.model.path), source.tokenizer()
        both = of_model is not None and of_data is not None
        if both and of_model.get_vocab() != of_data.get_vocab():
            raise InputError(
                f"the tokenizer of {run.model.path} is not the one the data was made with"
            )
    size = model.get_input_embeddings().weight.shape[0]
    if isinstance(source, Examples):
        check_embedded((e.tokens.tolist() for e in source.examples), size, source.saved)
    if source.vocabulary > size:
        leave = ": leave model.options.vocab_size out" if run.model.preset else ""
        raise InputError(
            f"the data has a vocabulary of {source.vocabulary:,}, the model one of {size:,}: they "
            f"do not fit{leave if run.data.sources else ''}"
        )


def check_positions(run: Run, model: PreTrainedModel) -> None:
    """Refuse a ``seq_len`` beyond the positions of the model.

    Raises:
        InputError: the message says which field to change.
    """
    positions = getattr(decoder_config(model.config), "max_position_embeddings", None)
    if positions is not None and run.data.seq_len > positions:
        more = "set model.options.max_position_embeddings, or " if run.model.preset else ""
        raise InputError(
            f"seq_len {run.data.seq_len:,} is more than the model's {positions:,} positions: {more}"
            "lower it"
        )
