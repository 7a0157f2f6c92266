"""Plug-ins: code of other distributions, or of single Python files, that adds names to growloop.

A distribution adds objects through entry points of the groups in ``GROUPS``; the name of an entry
point is the name of its object. A file registers objects when it runs (``growloop --plugin FILE``,
or the environment variable ``GROWLOOP_PLUGINS`` for worker processes and array jobs). Both end in
a :class:`.registry.Registry`, and nothing is imported before a name is looked up.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import InputError

GROUPS = ("growloop.primitives", "growloop.operators", "growloop.loops", "growloop.studies")
ENVIRONMENT = "GROWLOOP_PLUGINS"
"""Variable with the paths of plug-in files, separated as in ``PATH``."""
MODULE = "_growloop_plugin_"  # beginning of the names of the modules of plug-in files
LONGEST = 300  # most characters of an error of a plug-in
HOW = (
    "put @register_primitive, @register_solver, @register_operator, @register_part or "
    "@register_study above its class or function"
)


class PluginError(InputError):
    """Plug-in that cannot be loaded, or a name that two of them claim."""


@dataclass(frozen=True)
class Origin:
    """Source of a registered object: a distribution, a plug-in file, or a module.

    Args:
        name: name of the distribution, the file or the module.
        version: version of the distribution; empty for files and modules.
        module: module that holds the object.

    >>> str(Origin("growloop-toys", "0.1.0", "growloop_toys"))
    'growloop-toys 0.1.0'
    """

    name: str
    version: str = ""
    module: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the plug-in file, or of all files of the package; None if unknown."""
        if self.module in _LOADED:
            return _LOADED[self.module]
        top = sys.modules.get(self.module.partition(".")[0])
        paths = [Path(folder) for folder in getattr(top, "__path__", ())]
        if not paths and (file := getattr(top, "__file__", None)) is not None:
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()
        return _folders_digest(paths) if paths else None

    @property
    def identity(self) -> str:
        """Version and digest of the code in one line, for records.

        Example::

            Registry.origin("reversal").identity  # "0.1.0 sha256:5f70bf18a086"
        """
        code = "" if self.digest is None else f"sha256:{self.digest[:12]}"
        return f"{self.version} {code}".strip() or "code without a file"


def _folders_digest(folders: Sequence[Path]) -> str | None:
    """Hash names and contents of all files below folders, compiled files apart."""
    files = sorted(
        (path.relative_to(folder).as_posix(), path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest() if files else None


_LOADED: dict[str, str] = {}
"""Module of each plug-in file that ran -> SHA-256 of the file."""
_FILES: dict[str, Path] = {}
"""Module of each plug-in file that was named -> its path."""
_BROKEN: dict[str, PluginError] = {}
"""Module of each plug-in file that failed -> its error."""
_USED: dict[str, Origin] = {}
_WARNED: set[str] = set()
FORGETTING: list[Callable[[str], object]] = []
"""Functions that remove what a module registered, one a registry."""
_LOADING: list[Origin] = []
"""Plug-ins that are being imported, the innermost last."""
_REGISTRATIONS: list[str] = []
"""Modules outside growloop, one for each object that they registered."""


def note_registration(module: str) -> None:
    """Note that a plug-in's module registered an object."""
    _REGISTRATIONS.append(module)


def forget(module: str) -> None:
    """Remove everything that a module registered, such as a plug-in file that failed half-way."""
    for remove in FORGETTING:
        remove(module)


def warn(text: object) -> None:
    """Print a warning on standard error, once per process."""
    if str(text) not in _WARNED:
        _WARNED.add(str(text))
        print(f"Warning: {text}", file=sys.stderr)


def use(origin: Origin) -> None:
    """Note that an object of a plug-in was looked up, for :func:`used`."""
    _USED[origin.name] = origin


def used() -> dict[str, str]:
    """Return the plug-ins whose objects this process looked up: name -> version and code digest.

    Records and results hold them beside the versions of packages.
    """
    return {name: origin.identity for name, origin in sorted(_USED.items())}


@contextmanager
def loading(origin: Origin) -> Iterator[None]:
    """Attribute what is registered meanwhile to ``origin``."""
    _LOADING.append(origin)
    try:
        yield
    finally:
        _LOADING.pop()


def origin_of(module: str) -> Origin | None:
    """Return the origin of what a module registers now; None for growloop's own modules."""
    if module == "growloop" or module.startswith("growloop."):
        return None
    if module in _FILES:
        return Origin(_FILES[module].name, module=module)
    if _LOADING and _LOADING[-1].module.partition(".")[0] == module.partition(".")[0]:
        return _LOADING[-1]
    return Origin(f"module {module}", module=module)


def problem(error: BaseException) -> str:
    """Format an error that a plug-in raised as the end of a sentence, with its line."""
    text = str(error).strip().split("\n")[0][:LONGEST]
    if isinstance(error, InputError):
        return text
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_plugin(f.filename)]
    # the innermost line of the plug-in, not of a library that it calls
    own = [f for f in frames if Path(f.filename).parent == Path(frames[0].filename).parent]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    where = "" if isinstance(error, SyntaxError) else where  # its message has the line
    return f"{type(error).__name__}: {text}{where}" if text else type(error).__name__ + where


def _is_plugin(file: str) -> bool:
    """Return whether a file of a traceback is neither growloop's nor of the import system."""
    inside = Path(__file__).parent.parent in Path(file).parents
    return not inside and "importlib" not in file


def entry_points(group: str) -> list[tuple[metadata.EntryPoint, Origin]]:
    """Return the entry points of a group, sorted by name, each with its distribution.

    Reads the metadata of installed distributions and imports none of them.
    """
    found: dict[tuple[str, str, str], tuple[metadata.EntryPoint, Origin]] = {}
    for point in metadata.entry_points(group=group):
        dist = point.dist
        name = "an unnamed distribution" if dist is None else dist.metadata["Name"]
        origin = Origin(name, "" if dist is None else dist.version, point.module)
        # a distribution may stand on the path twice, e.g. installed as editable
        found.setdefault((point.name, name.lower().replace("_", "-"), point.value), (point, origin))
    return [found[key] for key in sorted(found)]


def add_files(paths: Sequence[str | Path]) -> None:
    """Run plug-in files, and name them in the environment for processes that this one starts.

    Raises:
        PluginError: a file that cannot be read, or that fails; the message has file and line.
    """
    for path in paths:
        file = Path(path).absolute()
        if os.pathsep in str(file):
            raise PluginError(f"plug-in {path}: its path may not hold '{os.pathsep}'")
        _run_file(file)
        named = list(_named_files())
        if file not in named:
            os.environ[ENVIRONMENT] = os.pathsep.join(map(str, [*named, file]))


def load_named_files() -> None:
    """Run the plug-in files that the environment names; warn of broken ones and go on."""
    for file in _named_files():
        try:
            _run_file(file)
        except PluginError as error:
            warn(error)


def _named_files() -> Iterator[Path]:
    for name in os.environ.get(ENVIRONMENT, "").split(os.pathsep):
        if name:
            yield Path(name).absolute()


def _module_name(file: Path) -> str:
    """Make the module name of a plug-in file: the same in every process."""
    stem = re.sub(r"\W", "_", file.stem)
    return f"{MODULE}{hashlib.sha256(str(file).encode()).hexdigest()[:10]}_{stem}"


def _run_file(file: Path) -> ModuleType:
    """Run a plug-in file as a module, once per process."""
    name = _module_name(file)
    if name in _BROKEN:
        raise _BROKEN[name]
    if name in sys.modules:
        return sys.modules[name]
    _FILES[name] = file
    if not file.is_file():
        raise PluginError(f"there is no plug-in file {file}")
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # code of others raises anything
        _BROKEN[name] = PluginError(f"plug-in {file.name} cannot be used: {problem(error)}")
        _BROKEN[name].__cause__ = error
    raise _BROKEN[name]


class _Loader(importlib.abc.Loader):
    """Loader of a plug-in file; a file that fails leaves nothing registered."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        source = self.file.read_bytes()
        module.__file__ = str(self.file)
        _LOADED[module.__name__] = hashlib.sha256(source).hexdigest()
        before = len(_REGISTRATIONS)
        try:
            exec(compile(source, str(self.file), "exec"), module.__dict__)
        except BaseException:
            forget(module.__name__)
            raise
        if len(_REGISTRATIONS) == before and not _holds_registered(module):
            warn(f"plug-in {self.file.name} registers nothing: {HOW}")


def _holds_registered(module: ModuleType) -> bool:
    """Return whether a module imported from a package that had registered an object before."""
    packages = {name.partition(".")[0] for name in _REGISTRATIONS}
    held = (
        value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        for value in vars(module).values()
    )
    return any(str(name).partition(".")[0] in packages for name in held)


class _Finder(importlib.abc.MetaPathFinder):
    """Finder of the modules of plug-in files: spawned processes unpickle their objects by it."""

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(MODULE):
            return None
        for file in [*_FILES.values(), *_named_files()]:
            if _module_name(file) == fullname:
                _FILES[fullname] = file
                return importlib.util.spec_from_loader(fullname, _Loader(file), origin=str(file))
        return None


sys.meta_path.append(_Finder())
