"""A run that moves: what of its directory travels, and a unit that trains it wherever that is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.files.run_dir import CONFIG, RunDir
from agents.training.side_by_side import script
from wdmoe_env.files.atomic import write_bytes, write_folder
from wdmoe_env.files.safe import StorageError
from wdmoe_env.settings.contents import FILES, digest_of
from wdmoe_env.workers.units import Line

LOOK_S = 0.3
"""Seconds between two looks at a process that trains."""
TELL_S = 3.0
"""Seconds between two reports of how far it is."""
ORPHANS = "wdmoe_env.workers.orphans"
WHOLE = ("best", "checkpoints")
"""Folders whose own folders, or which themselves, are replaced as a whole."""


@dataclass(frozen=True, slots=True)
class MovingRun:
    """A run's directory as content.

    Attributes:
        path: where it lies on the machine that keeps it; elsewhere another place of the same name.
        files: contents by their path in it, in the order in which they have to be written.
        named: of each file that its scenario names and that does not come with the project: path, and content.
    """

    path: str
    files: Mapping[str, bytes]
    named: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a process that trains a run has brought so far.

    Attributes:
        files: those that have changed; `None` for what is gone; none of them where the directory is shared.
        printed: all that it has printed.
    """

    files: Mapping[str, bytes | None]
    printed: bytes


def packed(run: RunDir) -> MovingRun:
    """A run as it stands, to be trained elsewhere.

    Raises:
        StorageError: its configuration is broken.
        OSError: a file cannot be read.
    """
    kept = run.config().get(FILES) or {}
    return MovingRun(str(run.path.absolute()), contents(run.path), {path: Path(path).read_bytes() for path in kept})


def contents(path: Path) -> dict[str, bytes]:
    """Contents of a run's files: checkpoints come last, as what they speak of has to be there before them."""
    files = [file for file in path.rglob("*") if file.is_file() and not file.is_symlink() and not _hidden(file, path)]
    order = sorted(files, key=lambda file: ("checkpoints" in file.parts, file))
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in order}


def write(path: Path, files: Mapping[str, bytes | None]) -> None:
    """Bring a run's directory up to date. Folders of policies and checkpoints are replaced whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    folders: dict[Path, dict[str, bytes]] = {}
    try:
        for name, content in files.items():
            file = path / name
            if file.relative_to(path).parts[0] in WHOLE:
                folders.setdefault(file.parent, {})
                if content is not None:
                    folders[file.parent][file.name] = content
            elif content is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(file, content)
        for folder, held in folders.items():
            _replace(folder, held)
    except OSError as error:
        raise StorageError(f"run directory {path} cannot be written: {error.strerror}") from error


def _replace(folder: Path, held: dict[str, bytes]) -> None:
    if held:
        write_folder(folder, held)
        return
    for file in folder.glob("*"):
        file.unlink()
    if folder.exists():
        folder.rmdir()


def train(line: Line, run: MovingRun, shared: bool) -> tuple[int, Progress]:
    """Train a run to its end, or until asked to stop, in a process of its own: its exit status, and what it brought.

    Args:
        line: told of progress, and of each checkpoint as soon as it is there.
        run: what is trained.
        shared: whether the directory may be used in its place, if it is there and is the same.
    """
    if shared and _is_here(run):
        return _Training(line, Path(run.path), None).followed()
    with tempfile.TemporaryDirectory(prefix="wdmoe-") as folder:
        return _Training(line, _unpacked(run, Path(folder)), run).followed()


def _is_here(run: MovingRun) -> bool:
    file = Path(run.path) / CONFIG
    return file.is_file() and file.read_bytes() == run.files[CONFIG]


def _unpacked(run: MovingRun, folder: Path) -> Path:
    """Write a run to a folder, and the files that it names to where they lie as seen from it; return its place."""
    config = json.loads(run.files[CONFIG])
    places = {path: entry["relative"] for path, entry in (config.get(FILES) or {}).items()}
    # As deep as the longest way out: nothing is written outside of the folder.
    deep = max((relative.count("..") for relative in places.values()), default=0)
    path = folder.joinpath(*["up"] * deep, Path(run.path).name)
    for name, relative in places.items():
        place = Path(os.path.normpath(path / relative))
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, run.named[name])
    path.mkdir(parents=True, exist_ok=True)
    write(path, run.files)
    return path


class _Training:
    """A process that trains a run, and what of it was told already."""

    def __init__(self, line: Line, path: Path, moved: MovingRun | None) -> None:
        self._line, self._path, self._moved = line, path, moved
        self._known: dict[str, bytes] = dict(moved.files) if moved else {}
        self._renamed = _renamed(moved, path) if moved else {}
        self._checkpoints = RunDir(path).checkpoints()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        words = [sys.executable, "-m", ORPHANS, str(os.getpid()), *script(), "--resume", str(path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(  # noqa: S603 - this Python, on train.py
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def followed(self) -> tuple[int, Progress]:
        """Wait for the end, and tell what comes in between."""
        told, asked = time.monotonic(), False
        try:
            while (status := self._process.poll()) is None:
                time.sleep(LOOK_S)
                if not asked and (reason := self._line.stop()) is not None:
                    self._process.send_signal(signal.Signals[reason])
                    asked = True
                if time.monotonic() > told + TELL_S or RunDir(self._path).checkpoints() != self._checkpoints:
                    self._tell()
                    told = time.monotonic()
        finally:
            self._process.kill()
            self._process.wait()
        return status, self._progress()

    def _tell(self) -> None:
        before = RunDir(self._path).checkpoints()
        try:
            self._line.tell(self._progress())
        except FileNotFoundError:
            return  # replaced while it was read: the next look finds it whole
        self._checkpoints = before

    def _progress(self) -> Progress:
        self._log.seek(0)
        printed = self._log.read()
        if self._moved is None:
            return Progress({}, printed)
        now = {name: self._as_kept(name, content) for name, content in contents(self._path).items()}
        # Of a folder that is replaced as a whole, all or nothing.
        stale = {_folder_of(name) for name, content in now.items() if self._known.get(name) != content}
        changed = {name: content for name, content in now.items() if _folder_of(name) in stale}
        gone = dict.fromkeys(self._known.keys() - now.keys())
        self._known = now
        return Progress({**changed, **gone}, printed)

    def _as_kept(self, name: str, content: bytes) -> bytes:
        """A file as it would be where the run is kept: paths of this machine are those of that one."""
        if name.endswith(".json") and name.split("/")[0] in WHOLE:
            for here, there in self._renamed.items():
                content = content.replace(here, there)
        return content


def _renamed(run: MovingRun, path: Path) -> dict[bytes, bytes]:
    """As JSON: places here of files that a run's scenario names, and those on the machine that it comes from."""
    kept = json.loads(run.files[CONFIG]).get(FILES) or {}
    places = {os.path.normpath(path / entry["relative"]): name for name, entry in kept.items()}
    return {
        json.dumps(here).encode(): json.dumps(there).encode()
        for here, there in places.items()
        if digest_of(there) != kept[there]["sha256"]
    }


def _folder_of(name: str) -> str:
    """The folder that a file is replaced with, or the file itself."""
    return name.rpartition("/")[0] if name.split("/")[0] in WHOLE else name


def _hidden(file: Path, path: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(path).parts)
