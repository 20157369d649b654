"""The house of docs/architecture.md: who may import whom, and which library comes in by which door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tfsctl

PACKAGE = Path(tfsctl.__file__).parent

# A room imports only from floors below it and from itself, never sideways. Files that stand outside the rooms (errors,
# the package's own __init__) are the ground; __main__ is above everything.
FLOORS = {
    "errors": -1,
    "core": 0,
    "export": 1,
    "clients": 1,
    "data": 1,
    "server": 1,
    "engines": 2,
    "api": 3,
    "cli": 3,
    "__main__": 4,
}

# Library (or a part of one) -> the only places that import it. A place is a room, or one file of it.
DOORS = {
    "typer": ["cli"],
    "rich": ["cli/_output"],
    "prompt_toolkit": ["cli"],
    "httpx": ["clients/rest", "clients/rest_connection"],
    "grpc": ["clients/grpc", "clients/grpc_channel"],
    "subprocess": ["engines/_programs"],
    "google_crc32c": ["core/tfrecord"],
    "PIL": ["core/images"],
    "pyarrow": ["data/parquet_rows"],
    "ctypes": ["server"],
    "tensorflow": ["export"],
    "keras": ["export"],
    # core/protos names the modules of these as text, and imports them when they are asked for
    "tensorflow_serving": [],
    "grpc_health": [],
    "grpc_reflection": [],
    "uvloop": ["server"],
    "httptools": ["server"],
    "hpack": ["server"],
}

# What ends a process may be called in these files only: everywhere else failures are raised. server/launch ends it without
# waiting for threads inside TensorFlow.
EXITS = ["__main__", "cli/__init__", "server/__main__", "server/main", "server/launch"]


class Module:
    """One source file: its place (`core/types`), its tree, and every module it names in an import."""

    def __init__(self, path: Path) -> None:
        self.place = path.relative_to(PACKAGE).with_suffix("").as_posix()
        self.room = self.place.partition("/")[0]
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    def imports(self) -> Iterator[str]:
        """Dotted names, `from a import b` as both `a` and `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.place} line {node.lineno}: relative import"
                yield node.module or ""
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """What is called, as it is written: `sys.exit`, `exit`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node

    def is_in(self, places: list[str]) -> bool:
        """Whether it is one of these files, or in one of these rooms."""
        return self.place in places or any(self.place.startswith(f"{place}/") for place in places)


MODULES = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]


def room_of(name: str) -> str | None:
    """The room (or file of the ground) that a dotted name of ours leads to; None for names that lead to none."""
    first, _, rest = name.partition(".")
    room = rest.partition(".")[0]
    return room if first == "tfsctl" and room in FLOORS else None


def test_every_room_stands_on_a_floor() -> None:
    """A new room is entered in the table above before it is built."""
    assert {module.room for module in MODULES} - {"__init__"} == set(FLOORS)


def test_a_room_imports_only_from_floors_below() -> None:
    """Nothing imports upwards, and the rooms of a floor do not know each other."""
    wrong = [
        f"{module.place} imports {name}"
        for module in MODULES
        if module.room != "__init__"  # offers what all floors make, and imports it when it is asked for
        for name in module.imports()
        if (room := room_of(name)) is not None and room != module.room and FLOORS[room] >= FLOORS[module.room]
    ]

    assert wrong == []


def test_the_package_itself_imports_nothing_until_asked() -> None:
    """`import tfsctl` costs nothing."""
    package = next(module for module in MODULES if module.place == "__init__")
    at_import = [ast.unparse(node) for node in package.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]

    assert [line for line in at_import if "__future__" not in line] == []


def test_each_library_comes_in_by_its_door() -> None:
    """One library, one door; `import subprocess` in a client, say, is refused."""
    wrong = [
        f"{module.place} imports {name}"
        for module in MODULES
        for name in module.imports()
        if (places := DOORS.get(name.partition(".")[0])) is not None and not module.is_in(places)
    ]

    assert wrong == []


def test_every_door_is_used() -> None:
    """The table names no library that nobody imports, and no place where it is not imported."""
    for library, places in DOORS.items():
        users = [m for m in MODULES if library in {name.partition(".")[0] for name in m.imports()}]

        assert all(any(user.is_in([place]) for user in users) for place in places), library


def test_no_command_line_is_left_to_a_shell() -> None:
    """Programs are run as argument lists: no shell=True, no os.system, no os.popen."""
    wrong = [
        f"{module.place}:{call.lineno}"
        for module in MODULES
        for name, call in module.calls()
        if name in {"os.system", "os.popen"} or any(keyword.arg == "shell" for keyword in call.keywords)
    ]

    assert wrong == []


def test_only_the_entrances_end_the_process() -> None:
    """Exit codes are decided in one place a program; everything else raises."""
    wrong = [
        f"{module.place}:{call.lineno} calls {name}"
        for module in MODULES
        if not module.is_in(EXITS)
        for name, call in module.calls()
        if name in {"sys.exit", "exit", "quit", "os._exit", "SystemExit"}
    ]

    assert wrong == []
