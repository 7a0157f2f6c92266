"""Cosine similarity of layer weights: in grown models high between layers one block apart."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..core.errors import InputError, whole
from .looping.decoder import find_layers


@torch.no_grad()
def layer_similarity(model: PreTrainedModel) -> Tensor:
    """Compute the cosine similarity of every two unique layers, mean over weight matrices.

    Matrices of the same name and shape are compared. 1 for copies, about 0 for layers trained
    independently.

    Args:
        model: any decoder.

    Returns:
        ``(layers, layers)``, float32; symmetric, with ones on the diagonal.

    Raises:
        InputError: weights that are NaN or infinite.

    Example::

        block_similarity(layer_similarity(model), block_size=4)
    """
    layers = [dict(layer.named_parameters()) for layer in find_layers(model).unique]
    count = len(layers)
    total, pairs = torch.zeros(count, count), torch.zeros(count, count)
    names = dict.fromkeys(name for layer in layers for name, p in layer.items() if p.dim() >= 2)
    for name in names:
        shapes = dict.fromkeys(layer[name].shape for layer in layers if name in layer)
        for shape in shapes:
            members = [i for i, layer in enumerate(layers) if name in layer
                       and layer[name].shape == shape]  # fmt: skip
            rows = torch.stack([layers[i][name].detach().float().flatten() for i in members])
            if not bool((finite := rows.isfinite().all(1)).all()):
                layer = members[int((~finite).nonzero()[0])]
                raise InputError(f"{name} of layer {layer} holds NaN or infinity")
            rows = torch.nn.functional.normalize(rows, dim=1)
            index = torch.tensor(members)
            total[index[:, None], index] += (rows @ rows.T).cpu()
            pairs[index[:, None], index] += 1
    similarity = total / pairs.clamp_min(1)
    return similarity.fill_diagonal_(1.0)


def block_similarity(similarity: Tensor, block_size: int) -> float:
    """Average the similarity of layers ``block_size`` apart (paper section 5; Saunshi 2025).

    Args:
        similarity: result of :func:`layer_similarity`, ``(layers, layers)``.
        block_size: distance in layers.
    """
    whole("block_size", block_size, 1, len(similarity) - 1)
    return float(similarity.diagonal(block_size).mean())
