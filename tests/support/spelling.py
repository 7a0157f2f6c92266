"""Tokenizers of single characters, with special tokens around a text."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

BOS, EOS = "<s>", "</s>"


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789:=.,?"


def spelling(added: str = "$A", metaspace: bool = False, more: tuple[str, ...] = ()) -> Tokenizer:
    """A tokenizer of single characters.

    Args:
        added: what a template puts around a text.
        metaspace: SentencePiece's way: a space before the text, spaces are ``▁``.
        more: longer tokens, which characters merge into (Unigram).
    """
    space = "▁" if metaspace else " "
    pieces = [BOS, EOS, "<unk>", space, "\n", *LETTERS, *more]
    scores = [(piece, 0.0 if len(piece) > 1 else -9.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2))
    tokenizer.add_special_tokens([BOS, EOS])
    tokenizer.decoder = decoders.Fuse()
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    special = [(BOS, 0), (EOS, 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single=added, special_tokens=special)
    return tokenizer
