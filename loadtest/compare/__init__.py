"""`hookbench compare`: two runs of the same thing, metric by metric: by how much, how surely, which way.

`comparability` says whether two runs may be compared at all, `effects` what changed, `comparison` puts
both together.
"""

from loadtest.compare.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
