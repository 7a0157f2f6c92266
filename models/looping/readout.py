"""Readout of a model: final norm and head, which map hidden states to logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .decoder import Decoder, decoder_config
from .native import NativeLoops


@dataclass(frozen=True)
class Readout:
    """Final norm, head and logit scaling of a model, looked up at each call."""

    model: PreTrainedModel
    decoder: Decoder | NativeLoops

    def __call__(self, states: Tensor) -> Tensor:
        """Compute logits ``(..., vocabulary)`` of hidden states ``(..., dim)``."""
        logits: Tensor = self.model.get_output_embeddings()(self.decoder.final_norm(states))
        config = decoder_config(self.model.config)
        logits = logits * (getattr(config, "logit_scale", None) or 1)  # Cohere
        logits = logits / (getattr(config, "logits_scaling", None) or 1)  # Granite
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
            logits = torch.tanh(logits / cap) * cap
        return logits
