"""Axis titles of charts: what is measured or varied, with its unit."""

from __future__ import annotations

from ..records import Task

METRICS = {
    "acc": "accuracy (share right)",
    "acc_norm": "normalized accuracy (share right)",
    "f1": "F1 (share)",
    "nats_per_token": "loss (nats per token)",
    "nll": "loss (nats per token)",
    "cosine": "cosine similarity",
    "overlap": "overlap (share of the top 5)",
    "depth_score": "depth score (share of the depth)",
    "periodicity": "periodicity (correlation)",
    "rate": "rate of change from loop to loop",
    "mean_effect": "mean effect (share of the state)",
}
CONDITIONS = {
    "shots": "examples in the prompt",
    "examples": "training examples",
    "times": "extra passes of the block",
    "loops": "passes of the block",
    "swapped": "layers in the swapped block",
    "apart": "distance in layers",
    "layer": "layer",
    "steps": "layers run before the exit",
}


def metric_label(task: Task) -> str:
    """Return the title of the axis of a task's scores.

    >>> metric_label(Task(name="copying"))
    'accuracy (share right)'
    """
    return METRICS.get(task.metric, task.metric.replace("_", " "))


def metric_noun(task: Task) -> str:
    """Return the name of a task's metric, without its unit."""
    return metric_label(task).partition(" (")[0]


def condition_label(name: str) -> str:
    """Return the title of the axis of a varied number.

    >>> condition_label("apart"), condition_label("train_depths")
    ('distance in layers', 'train depths')
    """
    return CONDITIONS.get(name, name.replace("_", " "))
