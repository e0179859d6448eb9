"""What a run found, on disk: all samples, the bounds, the machine."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields
from statistics import median

from bench.row import Failed, Row

LATEST = "latest.json"


@dataclass
class Report:
    """The rows of one run, in the order in which they were measured."""

    date: str  # when it began, in UTC: 2026-11-25T04:15
    machine: dict
    quick: bool = False
    rows: list[Row] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    @classmethod
    def load(cls, path: str) -> Report:
        """Return what save() wrote."""
        with open(path) as file:
            given = json.load(file)
        names = {field.name for field in fields(Row)}
        rows = [Row(**{name: value for name, value in row.items() if name in names}) for row in given.pop("rows")]
        return cls(**given | {"rows": rows, "failed": [Failed(**one) for one in given["failed"]]})

    def save(self, folder: str) -> str:
        """Write it into `folder` under its date, and again as latest.json; return the path of that."""
        os.makedirs(folder, exist_ok=True)
        path, latest = f"{folder}/{self.date.replace(':', '')}.json", f"{folder}/{LATEST}"
        with open(path, "w") as file:
            json.dump({**asdict(self), "rows": [row.as_json() for row in self.rows]}, file, indent=1, ensure_ascii=False)
            file.write("\n")
        shutil.copyfile(path, latest)
        return latest

    @property
    def y(self) -> float | None:
        """The median of y over the whole run; None where no row needed it."""
        found = [value for row in self.rows for value in (row.beside if row.against == "y" else row.y)]
        return median(found) if found else None
