"""From hidden states to logits, as a model itself reads its last state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .decoder import Decoder, decoder_config


@dataclass(frozen=True)
class Readout:
    """The final norm and the head that a model has now, with what its config does to logits."""

    model: PreTrainedModel
    decoder: Decoder

    def __call__(self, states: Tensor) -> Tensor:
        """Logits ``(..., vocabulary)`` of hidden states ``(..., dim)``."""
        logits: Tensor = self.model.get_output_embeddings()(self.decoder.final_norm(states))
        config = decoder_config(self.model.config)
        logits = logits * (getattr(config, "logit_scale", None) or 1)  # Cohere
        logits = logits / (getattr(config, "logits_scaling", None) or 1)  # Granite
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
            logits = torch.tanh(logits / cap) * cap
        return logits
