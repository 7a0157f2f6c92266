"""Notes on an evaluation: deviations from a task's definition, counted per task.

A value may be valid and still measured differently from its task's definition (a truncated prompt,
a system message that the chat template drops). :class:`Notes` collects such deviations for results
and records, and warns once. lm-eval logs some of them among much else; :class:`Translator` rewords
those.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .scoring.processes import first

logger = logging.getLogger("growloop")

CUT = "prompts cut"
MERGED = "scored from the last common token"
MISREAD = "scored as another text"
ALIKE = "options alike"
SYSTEM = "system message left out"


class Notes:
    """Counts of notes by task and kind.

    Attributes:
        by_task: task -> kind -> number of requests.
        everywhere: kinds that apply to all tasks.
    """

    def __init__(self) -> None:
        self.by_task: dict[str, Counter[str]] = {}
        self.everywhere: set[str] = set()
        self._said: set[str] = set()

    def clear(self) -> None:
        """Reset the counts for a new evaluation; warnings are not repeated."""
        self.by_task, self.everywhere = {}, set()

    def add(self, kind: str, tasks: Iterable[str | None]) -> None:
        """Count one request of a kind per task name in ``tasks``."""
        for task in tasks:
            self.by_task.setdefault(task or "", Counter())[kind] += 1

    def gather(self, processes: int) -> None:
        """Add the counts of the other processes.

        Args:
            processes: number of processes that lm-eval divided the questions among.
        """
        if processes == 1:
            return
        from accelerate.utils import gather_object

        others: list[dict[str, Counter[str]]] = gather_object([self.by_task])
        self.by_task = {}
        for other in others:
            for task, counts in other.items():
                self.by_task.setdefault(task, Counter()).update(counts)

    def of(self, task: str) -> dict[str, int]:
        """Return kind -> number of requests for a task; kinds of all tasks count 1."""
        return {**self.by_task.get(task, {}), **dict.fromkeys(sorted(self.everywhere), 1)}

    def say(self, sentence: str) -> None:
        """Log a warning once, on the first process."""
        if sentence not in self._said and first():
            logger.warning("%s", sentence)
        self._said.add(sentence)

    def to_dict(self) -> dict[str, Any]:
        """Return the entries for the results; empty without notes."""
        entries: dict[str, Any] = {}
        if self.by_task:
            entries["notes"] = {task: dict(counts) for task, counts in self.by_task.items()}
        if self.everywhere:
            entries["notes_everywhere"] = sorted(self.everywhere)
        return entries


# pattern of a message of lm-eval -> our sentence; others do not change what a number means
MEANINGS = [
    (
        r"num_fewshot has been set to 0 for (\S+) in its config",
        "{0} is asked without examples, whatever --shots says: its own configuration says 0",
    ),
    (
        r"\[Task: (.+?)\] has_training_docs and has_validation_docs are False",
        "the examples of {0} are drawn from its test questions: it has no others",
    ),
    (
        r"Label index was not in within range",
        "a task of lm-eval's has questions whose answer is none of the options: they count as "
        "wrong",
    ),
    (
        r"\[(.+?)\] Metrics were not scored on the same number",
        "the metrics of {0} are means over different numbers of questions",
    ),
    (
        r"Group '(.+?)': metric '(.+?)' is missing in (\d+)/(\d+) tasks",
        "the mean {1} of {0} leaves out {2} of its {3} tasks, which have none",
    ),
    (
        r"appears to be an\s+instruct or chat variant",
        "this model's name says chat or instruct, and no chat template is applied: "
        "--apply_chat_template does",
    ),
    (
        r"No chat template is set for this tokenizer",
        "this model has no chat template of its own: a default one is used",
    ),
    (r"Applied prompt returns empty string", "a task of lm-eval's has a question without text"),
    (
        r"`max_length` in generation kwargs",
        "a task of lm-eval's limits prompt and answer together (max_length)",
    ),
]


class Translator(logging.Handler):
    """Handler that rewords lm-eval's warnings that change what a number means, each once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._notes = Notes()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        for pattern, sentence in MEANINGS:
            if found := re.search(pattern, message):
                self._notes.say(sentence.format(*found.groups()))
                return
        if record.levelno >= logging.ERROR:
            self._notes.say("lm-eval: " + "".join(message.strip().splitlines()[:1]))


def translate() -> None:
    """Replace the handlers of lm-eval's loggers by a :class:`Translator`."""
    for name in ("lm_eval", "lm-eval"):
        log = logging.getLogger(name)
        log.setLevel(logging.INFO)
        log.propagate = False
        log.handlers = [Translator()]
