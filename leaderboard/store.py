"""Append-only folder of records, safe to write from many processes and to merge in git.

Each call of :meth:`Store.add` writes one new file of JSON lines, named by the hash of the records
in it, under a temporary name first. No file is ever changed, so nothing can conflict, a writer that
is killed leaves what was there, and a file that was damaged or edited no longer has its name. Two
writers may add the same record in different files: it is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..core.errors import InputError
from ..core.files import write_atomically
from .json_text import canonical, digest, parse
from .records import Record

MAX_LINE = 2**20  # bytes: a record has some hundreds


@dataclass(frozen=True)
class Problem:
    """Problem in a store: the file, its line if one line is at fault, and the reason."""

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True)
class Contents:
    """Valid records of a store, in a fixed order, and problems with the other lines."""

    records: tuple[Record, ...]
    problems: tuple[Problem, ...]


class Store:
    """Append-only store of records in a folder, which is created with the first record.

    >>> import tempfile
    >>> from growloop.leaderboard import Model, Task
    >>> store = Store(tempfile.mkdtemp())
    >>> record = Record(model=Model(name="tiny"), task=Task(name="copying"), value=0.5)
    >>> store.add([record]), store.add([record]), len(store.read())
    (1, 0, 1)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._seen: dict[str, tuple[tuple[int, int], Contents]] = {}  # files do not change

    def add(self, records: Iterable[Record]) -> int:
        """Add the records that the store lacks, all or none; return their number.

        Raises:
            InputError: the folder cannot be written.
        """
        stored = {record.id for record in self.scan().records}
        new = {record.id: record for record in records if record.id not in stored}
        if not new:
            return 0
        path = self.folder / f"{_name(new)}.jsonl"
        text = "".join(f"{new[name].to_json()}\n" for name in sorted(new)).encode()
        try:
            if path.exists() and path.read_bytes() != text:  # no file is ever changed
                raise InputError(f"{path} is damaged: restore it, or remove it to write it again")
            write_atomically(path, text)
        except OSError as error:
            raise InputError(f"cannot write {error.filename}: {error.strerror}") from None
        return len(new)

    def read(self) -> tuple[Record, ...]:
        """Return all records, each once.

        Raises:
            InputError: a line or file is not valid; :meth:`scan` reads the others.
        """
        contents = self.scan()
        if contents.problems:
            more = len(contents.problems) - 1
            hint = f" ({more} more: growloop leaderboard check)" if more else ""
            raise InputError(f"{contents.problems[0]}{hint}")
        return contents.records

    def scan(self) -> Contents:
        """Return all valid records, and the problems with the rest."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: a store of records is a folder")
        records: dict[str, Record] = {}
        problems: list[Problem] = []
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else []:
            if path.name.startswith(".") or path.name == "README.md":
                continue  # files of git, temporary files of a writer, notes for readers
            contents = self._file(path)
            records |= {record.id: record for record in contents.records}
            problems += contents.problems
        return Contents(tuple(records[name] for name in sorted(records)), tuple(problems))

    def _file(self, path: Path) -> Contents:
        try:
            state = path.stat()
            signature = (state.st_mtime_ns, state.st_size)
            if (before := self._seen.get(path.name)) is None or before[0] != signature:
                self._seen[path.name] = (signature, _read(path))
            return self._seen[path.name][1]
        except OSError as error:
            return Contents((), (Problem(path.name, None, error.strerror or str(error)),))


def check(folder: str | Path) -> tuple[Problem, ...]:
    """Return the problems of a store, with file, line and field.

    Raises:
        InputError: the folder does not exist.
    """
    if not Path(folder).exists():
        raise InputError(f"there is no folder {folder}")
    return Store(folder).scan().problems


def _name(stored: Iterable[str]) -> str:
    """Return the name of a file, from the hashes of its lines."""
    return digest("\n".join(sorted(stored)))[:24]


def _read(path: Path) -> Contents:
    """Read the records of one file."""
    if path.suffix != ".jsonl":
        return Contents((), (Problem(path.name, None, "it is not a file of records"),))
    records: list[Record] = []
    problems: list[Problem] = []
    stored: list[str] = []
    for line, text in _lines(path):
        try:
            fields = parse(text)
            records.append(Record.from_fields(fields))
            stored.append(digest(canonical(fields)))
        except InputError as error:
            problems.append(Problem(path.name, line, str(error)))
    if not problems and path.stem != _name(stored):
        reason = "its name does not fit its records: it was changed, cut short or renamed"
        problems.append(Problem(path.name, None, reason))
    return Contents(tuple(records), tuple(problems))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield line number and content of each line that is not blank.

    Lines beyond ``MAX_LINE`` are cut, so that they do not fill the memory; parsing refuses them.
    """
    with open(path, "rb") as file:
        for number in count(1):
            line = piece = file.readline(MAX_LINE)
            while piece and not piece.endswith(b"\n"):
                piece = file.readline(MAX_LINE)
            if not line:
                return
            if line.strip():
                yield number, line
