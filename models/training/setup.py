"""What a run file asks for: its model, its batches, its tokenizer."""

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

WINDOWS = 64  # sequences of the validation shards that are looked at


def first_model(run: Run, vocabulary: int | None = None) -> PreTrainedModel:
    """The model before the first step; without weights under ``torch.device("meta")``.

    Args:
        vocabulary: tokens of a preset whose run file does not say how many it has.
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
    """The depth a growing run ends with: that of its preset."""
    if run.growth is None or run.model.preset is None:
        return depth
    found: int = preset(run.model.preset, **run.model.options).num_hidden_layers
    return found


def vocabulary_of(run: Run, source: Source) -> int | None:
    """How many tokens a preset gets: those of the shards; lessons have a preset of their own."""
    return source.vocabulary if run.data.sources else None


def source_of(run: Run, special: bool = True) -> Source:
    """Where the batches of a run come from.

    Args:
        special: whether examples get the special tokens that the tokenizer puts before a text.
    """
    data = run.data
    phases = [Phase(e.step, e.mixture) for e in run.events if e.mixture is not None]
    phases.sort(key=lambda phase: phase.start)
    if data.curriculum:
        return Curriculum(data.curriculum, data.batch_size, data.seq_len, run.seed, phases)
    if data.examples is not None:
        assert run.model.path is not None
        tokenizer = checkpoints.load_tokenizer(run.model.path)
        if tokenizer is None:
            checkpoints.load_config(run.model.path)  # refuses what is no checkpoint at all
            raise InputError(f"{run.model.path} has no tokenizer, which examples need")
        if data.chat_template is not None:
            tokenizer.chat_template = read_template(data.chat_template)
        return _examples(run, data.examples, tokenizer, special)
    sources = {name: Shards(folder) for name, folder in data.sources.items()}
    if not phases or phases[0].start > 0:
        phases.insert(0, Phase(0, data.shares()))
    return Mixture(sources, phases, data.batch_size, data.seq_len, run.seed)


def held_out(run: Run, source: Source) -> list[Batch]:
    """What the held-out loss is measured on: the first windows of shards, or all examples."""
    path = run.data.validation
    if path is None:
        return []
    if isinstance(source, Examples):
        examples = _examples(run, path, source.saved, bool(source.special))
        if examples.about != source.about:
            had, has = examples.about["columns"], source.about["columns"]
            raise InputError(f"{path} has the columns {had}, {run.data.examples} has {has}")
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
    given = (data.batch_size, data.seq_len, run.seed, data.pack, data.delimiter, special)
    return Examples(examples, tokenizer, *given)


@torch.no_grad()
def keeps_apart(model: PreTrainedModel, source: Examples) -> bool:
    """Whether two examples of one row have the losses they have alone.

    Architectures whose masks or states do not follow positions would let them see each other.
    """
    training = model.training
    model.eval()
    try:
        a, b = (losses(model, batch, model.device) for batch in source.pair())
    except TypeError:  # knows no positions
        return False
    finally:
        model.train(training)
    return bool(torch.allclose(a, b, rtol=1e-3, atol=1e-3))


def saved_tokenizer(source: Source) -> Any:
    """The tokenizer that goes into checkpoints, so that they can be evaluated as they are."""
    found = source.tokenizer()
    if found is None or isinstance(found, PreTrainedTokenizerBase):
        return found
    end = found.id_to_token(source.end)
    begin = found.id_to_token(source.special[-1]) if source.special else end
    names = {"eos_token": end, "bos_token": begin, "pad_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=found, **names)


def check_fits(run: Run, model: PreTrainedModel, source: Source) -> None:
    """Refuse a model that has not the tokens of its data.

    Raises:
        InputError: fewer tokens, or a checkpoint whose own tokenizer is another one.
    """
    if run.model.path is not None and isinstance(source, Mixture):
        own, theirs = checkpoints.load_tokenizer(run.model.path), source.tokenizer()
        if own is not None and theirs is not None and own.get_vocab() != theirs.get_vocab():
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
            f"were not made for each other{leave if run.data.sources else ''}"
        )


def check_positions(run: Run, model: PreTrainedModel) -> None:
    """Refuse sequences that are longer than the model has positions.

    Raises:
        InputError: saying what to change.
    """
    positions = getattr(decoder_config(model.config), "max_position_embeddings", None)
    if positions is not None and run.data.seq_len > positions:
        more = "set model.options.max_position_embeddings, or " if run.model.preset else ""
        raise InputError(
            f"seq_len {run.data.seq_len:,} is more than the model's {positions:,} positions: {more}"
            "lower it"
        )
