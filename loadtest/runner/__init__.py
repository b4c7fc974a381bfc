"""Running loads and races: servers, generator, drain, verdict, run folder."""

from loadtest.runner.load import load
from loadtest.runner.processes import ProcessFailed
from loadtest.runner.progress import Progress
from loadtest.runner.race import race
from loadtest.runner.results import ArmRun, LoadResult, Paired

__all__ = ["ArmRun", "LoadResult", "Paired", "ProcessFailed", "Progress", "load", "race"]
