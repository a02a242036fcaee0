"""What a sweep was asked to do. Its folder keeps it, so that no other sweep writes there."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.sweep.grid import Grid, format_value
from training.errors import UserError

NOT_SET = "not set"
WAY_OUT = "choose another --output_dir"


@dataclass(frozen=True)
class Definition:
    """A sweep: its grid and seeds.

    Args:
        grid: keys with lists of values; in a search, also with ranges.
        seeds: values of ``seed_everything``.
        config: the complete configuration for the first values of the grid.
        search: the arguments of ``Search``; empty for a grid.
    """

    grid: Grid
    seeds: list[int]
    config: dict[str, Any]
    search: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def check_folder(self, folder: Path) -> bool:
        """Refuse a folder with another sweep. Seeds may be added to a grid, and trials to a search.

        Returns:
            whether this sweep was begun there.
        Raises:
            UserError: the folder has another grid, other seeds, another base, another search, or other files.
        """
        there = read_definition(folder)
        if there is None:
            return False
        before, now = there.search.get("trials", 0), self.search.get("trials", 0)
        may_grow = {"trials": now} if 0 < before <= now else {}
        for seed in there.seeds if not self.search else ():
            if seed not in self.seeds:
                raise UserError(f"{folder} has results of seed {seed}, which seeds lacks; add it, or {WAY_OUT}")
        for what, theirs, ours in (
            ("search", there.search | may_grow, self.search),
            ("search", {"seeds": there.seeds}, {"seeds": self.seeds if self.search else there.seeds}),
            ("grid", there.grid, self.grid),
            ("base", there.config, self.config),
        ):
            for key in {**theirs, **ours}:
                if theirs.get(key, NOT_SET) != ours.get(key, NOT_SET):
                    was, is_now = (format_values(values.get(key, NOT_SET)) for values in (theirs, ours))
                    raise UserError(
                        f"{folder} has results of another {what}: {key} is {was} there and {is_now} here; {WAY_OUT}"
                    )
        return True


def read_definition(folder: Path) -> Definition | None:
    """The definition in a folder; ``None`` if no sweep was begun there. Errors as for ``Definition.check_folder``."""
    path = folder / "sweep.json"
    try:
        there = Definition(**json.loads(path.read_text()))
        is_whole = isinstance(there.seeds, list) and isinstance(there.config, dict) and isinstance(there.search, dict)
        is_whole = is_whole and isinstance(there.search.get("trials", 0), int)
        if not is_whole or not all(isinstance(values, list | dict) for values in there.grid.values()):
            raise ValueError
    except FileNotFoundError:
        # A sweep that was killed may have left a lock or a temporary file before it wrote sweep.json.
        if folder.is_dir() and any(f.name != ".lock" and f.suffix != ".tmp" for f in folder.iterdir()):
            raise UserError(f"{folder} is not empty, but has no sweep; {WAY_OUT}") from None
        return None
    except NotADirectoryError:
        raise UserError(f"{folder} is not a folder; {WAY_OUT}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or cannot be read; {WAY_OUT}") from error
    return there


def format_values(values: Any) -> str:
    return ", ".join(str(format_value(value)) for value in values) if isinstance(values, list) else str(values)
