"""The requests of an A/B test in a SQLite database: counts and latencies of each arm, and which version each key had.

The process of the front writes it. Commands read it meanwhile. Each transaction also stores how far Envoy's log was
read, so no request is counted twice or lost if the front is killed.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfsctl.rollout.experiment.latency_histogram import bucket, percentile_ms

_BUSY_S = 5.0
_LOOKUPS = 500  # keys of one query; SQLite allows 999 parameters
_TABLES = {
    "meta": "(experiment TEXT, description TEXT, inode INTEGER, position INTEGER)",
    "arms": "(version INTEGER PRIMARY KEY, requests INTEGER, errors INTEGER, without_key INTEGER)",
    "latencies": "(version INTEGER, bucket INTEGER, requests INTEGER, PRIMARY KEY (version, bucket))",
    "keys": "(key TEXT, version INTEGER, PRIMARY KEY (key, version)) WITHOUT ROWID",
}


@dataclass(frozen=True, slots=True)
class Exposure:
    """One answered request: the version that answered, its key (None if it had none), and how it went."""

    version: int
    key: str | None
    is_error: bool
    microseconds: float


@dataclass(frozen=True, slots=True)
class Position:
    """How far Envoy's log was read: the inode of the file, and the offset in bytes."""

    inode: int = 0
    offset: int = 0


@dataclass(slots=True)
class ArmCounts:
    """The requests of one version: how many failed, how many had no key, the keys, and the latencies by bucket."""

    requests: int = 0
    errors: int = 0
    without_key: int = 0
    keys: int = 0
    latencies: dict[int, int] = field(default_factory=dict)

    def percentiles_ms(self) -> dict[str, float] | None:
        """The latencies p50, p90 and p99 in milliseconds; None without requests."""
        found = {f"p{rank}": percentile_ms(self.latencies, rank / 100) for rank in (50, 90, 99)}
        return {name: round(value, 3) for name, value in found.items() if value is not None} or None


class ExposureStore:
    """The database at `path`. Only `begin` and `add` write it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, experiment: str, description: Mapping[str, Any]) -> Position:
        """Open the database of an A/B test for writing. One of another test is emptied. Returns how far the log was read.

        `description` is stored for `describe`. A damaged database is replaced. Raises sqlite3.Error and OSError.
        """
        try:
            return self._begin(experiment, description)
        except sqlite3.OperationalError:
            raise  # it is locked, or the disk is full
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            return self._begin(experiment, description)

    def _begin(self, experiment: str, description: Mapping[str, Any]) -> Position:
        """Empty the tables in one transaction, because commands may read them: they see the old test or the new one."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
        with self._connection() as database:
            database.execute("PRAGMA journal_mode = WAL")
        with self._transaction("IMMEDIATE") as database:
            for table, columns in _TABLES.items():
                database.execute(f"CREATE TABLE IF NOT EXISTS {table} {columns}")
            stored = database.execute("SELECT experiment, inode, position FROM meta").fetchone()
            if stored is not None and stored[0] == experiment:
                return Position(*stored[1:])
            for table in _TABLES:
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
            database.execute("INSERT INTO meta VALUES (?, ?, 0, 0)", (experiment, json.dumps(description)))
        return Position()

    def experiment(self) -> str | None:
        """The id of the A/B test whose requests are stored, or None."""
        found = self._meta()
        return found and found[0]

    def describe(self) -> dict[str, Any] | None:
        """The description that `begin` stored, or None."""
        found = self._meta()
        return found and json.loads(found[1])

    def _meta(self) -> tuple[str, str] | None:
        try:
            with self._transaction() as database:
                experiment, description = database.execute("SELECT experiment, description FROM meta").fetchone()
                return experiment, description
        except (sqlite3.Error, TypeError):
            return None

    def add(self, exposures: Sequence[Exposure], position: Position) -> None:
        """Add requests, and store how far the log was read. Raises sqlite3.Error; nothing is stored then."""
        arms: dict[int, list[int]] = {}
        for one in exposures:
            counts = arms.setdefault(one.version, [0, 0, 0])
            counts[0] += 1
            counts[1] += one.is_error
            counts[2] += one.key is None
        latencies = Counter((one.version, bucket(one.microseconds)) for one in exposures)
        keys = {(one.key, one.version) for one in exposures if one.key is not None}
        with self._transaction("IMMEDIATE") as database:
            database.executemany(
                "INSERT INTO arms VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, "
                "errors = errors + excluded.errors, without_key = without_key + excluded.without_key",
                [(version, *counts) for version, counts in arms.items()],
            )
            database.executemany(
                "INSERT INTO latencies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
                [(*place, count) for place, count in latencies.items()],
            )
            database.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", keys)
            database.execute("UPDATE meta SET inode = ?, position = ?", (position.inode, position.offset))

    def arms(self) -> dict[int, ArmCounts]:
        """The counts of each version that answered. Raises sqlite3.Error."""
        with self._transaction() as database:
            found = {
                version: ArmCounts(requests, errors, without_key)
                for version, requests, errors, without_key in database.execute("SELECT * FROM arms")
            }
            for version, number, requests in database.execute("SELECT * FROM latencies"):
                found[version].latencies[number] = requests
            for version, count in database.execute("SELECT version, COUNT(*) FROM keys GROUP BY version"):
                found[version].keys = count
        return found

    def versions_of(self, keys: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The versions that answered each of these keys, in order. Keys without requests are missing."""
        wanted = list(keys)
        found: dict[str, tuple[int, ...]] = {}
        with self._transaction() as database:
            for start in range(0, len(wanted), _LOOKUPS):
                some = wanted[start : start + _LOOKUPS]
                placeholders = ", ".join("?" * len(some))
                query = f"SELECT key, version FROM keys WHERE key IN ({placeholders}) ORDER BY version"  # noqa: S608
                for key, version in database.execute(query, some):
                    found[key] = (*found.get(key, ()), version)
        return found

    def keys_of_one_version(self) -> dict[int, int]:
        """For each version, the number of keys that no other version answered."""
        query = (
            "SELECT version, COUNT(*) FROM (SELECT MIN(version) AS version FROM keys GROUP BY key HAVING COUNT(*) = 1) "
        )
        with self._transaction() as database:
            return dict(database.execute(f"{query} GROUP BY version"))

    def keys_of_several_versions(self) -> int:
        """How many keys were answered by more than one version."""
        with self._transaction() as database:
            query = "SELECT COUNT(*) FROM (SELECT key FROM keys GROUP BY key HAVING COUNT(*) > 1)"
            return int(database.execute(query).fetchone()[0])

    @contextmanager
    def _transaction(self, kind: Literal["DEFERRED", "IMMEDIATE"] = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """A transaction that is committed at the end of the block, or rolled back. All its queries see the same state.

        One that writes is IMMEDIATE: it waits for other writers before it reads.
        """
        with self._connection() as database, database:
            database.execute(f"BEGIN {kind}")
            yield database

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection to the existing file. Commands must not create it: it is only for this user."""
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = NORMAL")
            yield database
