"""Published experiments, run again: what was claimed, by whom, and what we find.

Each study is one module to be read in class. It says what its authors did, reproduces it with the models of
this package, and judges every claim by a confidence interval: it holds, it does not, or it is undecided.

    >>> from sim.studies import STUDIES
    >>> STUDIES["header-overhead"].authors
    'P. Lubbers & F. Greco, 2010'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from sim.errors import InputError

if TYPE_CHECKING:
    from sim.studies.findings import Results

Progress = Callable[[int, int], None]

MAX_REPLICATIONS = 10_000


@dataclass(frozen=True)
class Study:
    """A published experiment that can be run again.

    Attributes:
        name: what it is called on the command line; its module has underscores for hyphens.
        question: what it asks.
        authors: who published it, and when.
        citation: the publication in full.
        replications: how many independent runs it takes unless told otherwise.
    """

    name: str
    question: str
    authors: str
    citation: str
    replications: int

    def run(
        self, seed: int = 1, replications: int | None = None, progress: Progress | None = None
    ) -> Results:
        """Run it.

        Args:
            seed: any int in [0, 2^63); fixes every draw.
            replications: independent runs; by default as many as `self.replications`.
            progress: called with (steps done, steps in all).

        Raises:
            InputError: a number is out of its range.
        """
        count = self.check(seed, replications)
        module = import_module(f"sim.studies.{self.name.replace('-', '_')}")
        run = cast("Callable[[int, int, Progress], Results]", module.run)
        return run(seed, count, progress or _silent)

    def check(self, seed: int, replications: int | None) -> int:
        """Refuse what `run` cannot run; returns the number of replications.

        Raises:
            InputError: naming the value and what would be accepted.
        """
        count = self.replications if replications is None else replications
        if not 0 <= seed < 2**63:
            raise InputError(f"seed must be in [0, 2^63), got {seed}")
        if not 2 <= count <= MAX_REPLICATIONS:
            raise InputError(f"replications must be in [2, {MAX_REPLICATIONS}], got {count}")
        return count


def _silent(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "backoff-and-jitter",
            "Which back-off lets many clients through at the least cost?",
            "M. Brooker, 2015",
            'M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 4 March 2015, '
            "https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/; "
            "its simulator: https://github.com/aws-samples/aws-arch-backoff-simulator",
            100,
        ),
        Study(
            "metastable-failure",
            "Why does an overload outlive its cause?",
            "N. Bronson et al., 2021",
            'N. Bronson, A. Aghayev, A. Charapko & T. Zhu, "Metastable Failures in Distributed Systems", '
            "Workshop on Hot Topics in Operating Systems (HotOS '21), pp. 221-227, ACM, 2021, "
            "https://doi.org/10.1145/3458336.3465286",
            10,
        ),
        Study(
            "header-overhead",
            "How many bytes of headers does polling cost, and a WebSocket save?",
            "P. Lubbers & F. Greco, 2010",
            'P. Lubbers & F. Greco, "HTML5 WebSocket: A Quantum Leap in Scalability for the Web", '
            "SOA World Magazine, 11 March 2010, http://www.websocket.org/quantum.html",
            2,
        ),
        Study(
            "empty-polls",
            "How many polls find nothing?",
            "W. Vogels, 2004; Zapier, 2013",
            'W. Vogels, "Feed Analysis: Success vs. NoChange", All Things Distributed, 19 March 2004, '
            "https://www.allthingsdistributed.com/historical/archives/000417.html; "
            "the 98.5 %: Zapier's REST Hooks campaign, https://resthooks.org",
            40,
        ),
    )
}


def find(name: str) -> Study:
    """The study of this name.

    Raises:
        InputError: there is none; the message names those there are.
    """
    if name not in STUDIES:
        raise InputError(f"no study is called {name!r}; studies: {', '.join(STUDIES)}")
    return STUDIES[name]
