"""Which run is next, and how long all will take, from what the finished ones took."""

from statistics import mean

from experiments.sweep.grid import Run
from experiments.sweep.results import ResultsFolder


class Schedule:
    """Hands out runs in an order that leaves no worker idle at the end: the longest first, as soon as that is known.

    A run takes about as long as one of the same values with another seed. So each combination of values is begun once,
    in the grid's order; then come the other seeds of the longest, and at the end those of the shortest.

    Args:
        results: what has ended so far.
        pending: the runs to be done.
    """

    def __init__(self, results: ResultsFolder, pending: list[Run]) -> None:
        self.results = results
        self.pending = list(pending)
        self._begun = [run.values for run in results.runs if run not in pending]

    def take(self) -> Run:
        """The next run; it is not pending any more."""
        new = [run for run in self.pending if run.values not in self._begun]
        run = new[0] if new else max(self.pending, key=lambda run: self.expected_seconds(run) or 0.0)
        self.pending.remove(run)
        self._begun.append(run.values)
        return run

    def expected_seconds(self, run: Run) -> float | None:
        """What the finished runs took that have most values in common with this one; ``None`` before the first."""
        alike: dict[int, list[float]] = {}
        for other in self.results.runs:
            result = self.results.result(other)
            if result is not None and result["status"] == "finished":
                common = sum(other.values[key] == value for key, value in run.values.items())
                alike.setdefault(common, []).append(result["seconds"])
        return mean(alike[max(alike)]) if alike else None

    def seconds_left(self, running: dict[Run, float], num_workers: int) -> float | None:
        """Until all is done, if every run takes what was expected.

        Args:
            running: what is being done, and which share of it is.
            num_workers: how many runs are done at a time.
        """
        left = []
        for run in (*self.pending, *running):
            expected = self.expected_seconds(run)
            if expected is None:
                return None
            left.append(expected * (1 - running.get(run, 0.0)))
        # Neither can the workers do more at a time, nor can any run be done by two of them.
        return max(sum(left) / num_workers, max(left, default=0.0))
