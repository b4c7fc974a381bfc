"""Protects what a user of another system hands in: durations are read as meant, or refused in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtest.validate.sources import read_source
from sim.errors import InputError


def written(tmp_path: Path, text: str, name: str = "d.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(head: str, row: str, count: int = 40) -> str:
    return head + "\n" + "\n".join(row.format(i=i) for i in range(count)) + "\n"


@pytest.mark.parametrize(
    ("head", "row", "unit", "mean_s"),
    [
        ("duration_s", "0.25", "s", 0.25),
        ("Service_MS", "250", "s", 0.25),
        ("request_time", "250", "ms", 0.25),
        ("elapsed_us", "250", "ms", 0.00025),
        ("path,duration_s", "/hook,0.25", "s", 0.25),
    ],
)
def test_a_table_of_durations(tmp_path: Path, head: str, row: str, unit: str, mean_s: float) -> None:
    """The column's own unit wins over the option."""
    source = read_source(written(tmp_path, rows(head, row)), 3, unit)
    assert source.stages.service.mean_s == pytest.approx(mean_s)
    assert source.stages.workers == 3
    assert source.rate_per_s is None


def test_a_bare_list_of_numbers(tmp_path: Path) -> None:
    source = read_source(written(tmp_path, "\n".join(["0.1", "0.3"] * 20)), 1)
    assert source.stages.service.mean_s == pytest.approx(0.2)


def test_times_tell_the_rate_and_whether_it_queued(tmp_path: Path) -> None:
    """Ten a second, 50 ms each, one worker: half busy, so the durations hold some waiting."""
    text = "time,duration_ms\n" + "\n".join(f"{0.1 * i:.1f},50" for i in range(41))
    source = read_source(written(tmp_path, text), 1)
    assert source.rate_per_s == pytest.approx(10.25, rel=0.01)
    assert any("51 % of 1 workers" in remark for remark in source.remarks)
    assert not any("workers busy" in remark for remark in read_source(written(tmp_path, text), 4).remarks)


def test_an_access_log(tmp_path: Path) -> None:
    """The combined format of nginx with $request_time at its end."""
    line = '10.0.0.1 - - [10/Oct/2024:13:55:{i:02d} +0000] "POST /hook HTTP/1.1" 200 12 "-" "curl/8" 0.040'
    text = "\n".join(line.format(i=i) for i in range(40))
    source = read_source(written(tmp_path, text, "access.log"), 2)
    assert source.rate_per_s == pytest.approx(40 / 39)
    assert source.stages.service.mean_s == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("when,what\n1,2\n", "no column of durations among when, what"),
        (rows("duration_s", "soon"), "line 2: 'soon' is neither a number nor a time"),
        (rows("duration_s", "-1"), "a duration is negative"),
        (rows("duration_s", "0"), "every duration is 0"),
        (rows("duration_s", "0.1", 5), "5 durations; at least 30"),
        (rows("duration_s", "nan"), "neither a number"),
        ("[10/Oct/2024:13:55:36 +0000] GET", "line 1 of the access log"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_source(written(tmp_path, text), 1)


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        read_source(tmp_path, 1)
    with pytest.raises(InputError, match="No such file"):
        read_source(tmp_path / "missing.csv", 1)
    with pytest.raises(InputError, match="--unit 'h': expected one of s, ms, us"):
        read_source(tmp_path, 1, "h")


def test_a_long_table_becomes_a_distribution_like_it(tmp_path: Path) -> None:
    values = np.random.default_rng(1).lognormal(-3, 0.7, 5000)
    source = read_source(written(tmp_path, "duration_s\n" + "\n".join(f"{v:.9f}" for v in values)), 1)
    assert source.stages.service.mean_s == pytest.approx(values.mean(), rel=1e-6)
    assert source.stages.service.cv == pytest.approx(values.std() / values.mean(), rel=0.1)
