"""`Store`: the SQLite file of a study, in which every outcome is safe once it is known.

Each write is one transaction, so a process that is killed loses at most the evaluation it was in.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from intaglio.errors import ArtifactError, UsageError
from intaglio.search.objectives import Infeasible, Metrics, Outcome
from intaglio.search.space import Point

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes (point TEXT PRIMARY KEY, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
  run TEXT, number INTEGER, asked TEXT NOT NULL, point TEXT NOT NULL, PRIMARY KEY (run, number)
);
CREATE TABLE IF NOT EXISTS blobs (key TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class Store:
    """An open study file; a context manager.  One process at a time has it open.

    Raises UsageError when the file belongs to another study (its `fingerprint` differs) or is in
    use, and ArtifactError when it is no study or cannot be written.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        with self._explained():
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                self._claim()
                self._check("schema", str(SCHEMA))
                self._check("fingerprint", fingerprint)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def outcome(self, point: Point) -> Outcome | None:
        """What is known of `point`."""
        found = self._one("SELECT outcome FROM outcomes WHERE point = ?", point.to_text())
        return None if found is None else _decode(str(found))

    def keep_outcome(self, point: Point, outcome: Outcome) -> None:
        """File the outcome of `point`."""
        self._write(
            "INSERT OR IGNORE INTO outcomes VALUES (?, ?)", point.to_text(), _encode(outcome)
        )

    def keep_trial(self, run: str, number: int, asked: Point, point: Point) -> None:
        """File which point was asked for and which candidate it meant.

        Raises UsageError when the file says something else: then the strategy has changed, and
        going on would mix two searches.
        """
        pair = (asked.to_text(), point.to_text())
        self._write("INSERT OR IGNORE INTO trials VALUES (?, ?, ?, ?)", run, number, *pair)
        query = "SELECT asked || point FROM trials WHERE run = ? AND number = ?"
        if self._one(query, run, number) != "".join(pair):
            raise UsageError(
                f"study '{self._path}': trial {number} of {run} is not the one it recorded; the "
                "tools have changed since, so start a new study"
            )

    def remember(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The bytes filed under `key`, made and filed first when there are none."""
        found = self._one("SELECT value FROM blobs WHERE key = ?", key)
        if isinstance(found, bytes):
            return found
        made = make()
        self._write("INSERT INTO blobs VALUES (?, ?)", key, made)
        return made

    def _claim(self) -> None:
        """Take the file's lock, which the operating system drops with the process."""
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute("BEGIN EXCLUSIVE")
        for statement in filter(str.strip, _TABLES.split(";")):
            self._connection.execute(statement)
        self._connection.execute("COMMIT")

    def _check(self, key: str, value: str) -> None:
        self._write("INSERT OR IGNORE INTO about VALUES (?, ?)", key, value)
        found = self._one("SELECT value FROM about WHERE key = ?", key)
        if found != value:
            raise UsageError(
                f"study '{self._path}' was made for another search ({key} {str(found)[:12]}, not "
                f"{value[:12]}); name another folder, or go back to its specification"
            )

    def _one(self, query: str, *values: object) -> object | None:
        with self._explained():
            row = self._connection.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _write(self, statement: str, *values: object) -> None:
        with self._explained():
            self._connection.execute(statement, values)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite raises into sentences."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UsageError(
                    f"study '{self._path}' is in use by another search; wait for it to end or name "
                    "another folder"
                ) from error
            raise ArtifactError(
                f"study '{self._path}' cannot be opened or written ({error}); check the folder and "
                "the space left on its disk"
            ) from error
        except sqlite3.DatabaseError as error:
            raise ArtifactError(
                f"study '{self._path}' is corrupt ({error}); start a new study"
            ) from error


def _encode(outcome: Outcome) -> str:
    if isinstance(outcome, Infeasible):
        return json.dumps({"infeasible": outcome.reason})
    return json.dumps({"metrics": outcome.to_dict()})


def _decode(text: str) -> Outcome:
    stored = json.loads(text)
    if "infeasible" in stored:
        return Infeasible(stored["infeasible"])
    return Metrics.of(stored["metrics"])
