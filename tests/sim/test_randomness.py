"""Protects the draws every result rests on: known answers, uniformity, independence between streams.

The statistical checks run on fixed seeds, so they pass or fail for ever; each threshold is the
quantile that a correct generator exceeds with probability 1e-6.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.randomness import Stream, delivery_entity, replication_seed, splitmix64, uniform

ALPHA = 1e-6
N = 20_000
SERVICE = int(Stream.SERVICE)


def draws(stream: int, entity: int = 0, seed: int = 1, n: int = N) -> np.ndarray:
    return np.array([uniform(seed, int(stream), entity, index) for index in range(n)])


def test_splitmix64_gives_the_published_outputs() -> None:
    """The first outputs for state 1234567, as in the reference implementation's test vectors
    (Rosetta Code, "Pseudo-random numbers/Splitmix64", after S. Vigna's splitmix64.c)."""
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(splitmix64(1234567, index)) for index in range(5)] == expected


def reference_splitmix64(state: int, index: int) -> int:
    """SplitMix64 in unbounded integers, after S. Vigna's splitmix64.c."""
    mask = 2**64 - 1
    z = (state + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@given(
    seed=st.integers(0, 2**63 - 1),
    stream=st.sampled_from(Stream),
    entity=st.integers(0, 2**63 - 1),
    index=st.integers(0, 2**40),
)
def test_a_draw_is_what_its_definition_says(seed: int, stream: int, entity: int, index: int) -> None:
    """Against an independent implementation in unbounded integers: also, the bits never change."""
    state = seed
    for step in (0, int(stream), entity):
        state = reference_splitmix64(state, step)
    bits = reference_splitmix64(state, index)
    assert uniform(seed, stream, entity, index) == (2 * (bits >> 12) + 1) / 2**53


def test_the_bits_never_change() -> None:
    """Goldens: a change here changes every published result, so it must be meant."""
    assert uniform(1, Stream.SERVICE, 0, 0) == 0.9041398516312925
    assert replication_seed(1, 0) == 1394476457142537899


def test_draws_stay_inside_the_open_interval() -> None:
    """The extreme 52-bit cells are centred away from 0 and 1, so logarithms are always finite."""
    values = draws(Stream.SERVICE)
    assert values.min() >= 2.0**-53
    assert values.max() <= 1 - 2.0**-53


@pytest.mark.parametrize("stream", Stream)
def test_each_stream_is_uniform(stream: Stream) -> None:
    assert stats.kstest(draws(stream), "uniform").pvalue > ALPHA


@pytest.mark.parametrize(
    "vary",
    [
        lambda i: uniform(i, SERVICE, 0, 0),
        lambda i: uniform(1, SERVICE, i, 0),
        lambda i: uniform(1, SERVICE, delivery_entity(i, 0), 0),
        lambda i: uniform(1, SERVICE, delivery_entity(i, i), 1),
    ],
    ids=["over seeds", "over entities", "over subscribers", "over both"],
)
def test_uniform_over_every_argument(vary: object) -> None:
    values = np.array([vary(i) for i in range(N)])  # type: ignore[operator]
    assert stats.kstest(values, "uniform").pvalue > ALPHA
    # Serial pairs fill the unit square evenly.
    counts, _, _ = np.histogram2d(values[:-1:2], values[1::2], bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(counts.ravel()).pvalue > ALPHA


def test_streams_seeds_and_entities_are_uncorrelated() -> None:
    """Every pair among all streams, two further seeds and two further entities: |r| of independent
    draws is below z / sqrt(N), with z for ALPHA shared out over all pairs."""
    columns = [draws(stream) for stream in Stream]
    columns += [draws(Stream.SERVICE, seed=2), draws(Stream.SERVICE, seed=3)]
    columns += [draws(Stream.SERVICE, entity=1), draws(Stream.SERVICE, entity=2)]
    correlation = np.corrcoef(columns)
    pairs = correlation[np.triu_indices_from(correlation, k=1)]
    bound = stats.norm.isf(ALPHA / 2 / len(pairs)) / np.sqrt(N)
    assert np.abs(pairs).max() < bound


def test_replications_have_seeds_of_their_own() -> None:
    seeds = {replication_seed(seed, r) for seed in range(20) for r in range(1000)}
    assert len(seeds) == 20_000
