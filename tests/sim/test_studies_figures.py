"""Protects the studies' figures: they draw the data, say the finding, and name every curve apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sim.results import RunFolder, read_run
from sim.studies.backoff_and_jitter import RETRIES
from sim.studies.figures import FIGURES
from sim.studies.findings import Finding, Results


def title(figure: Figure) -> str:
    return figure.get_suptitle().replace("\n", " ")


def contended() -> Results:
    """Rule number i (from 1) takes i · N calls and i · N / 100 seconds, in two runs ±1 % apart."""
    rows = [
        (rule, clients, r, i * clients * (1 + spread), i * clients / 100 * (1 + spread))
        for i, rule in enumerate(RETRIES, 1)
        for clients in (10, 100)
        for r, spread in enumerate((-0.01, 0.01))
    ]
    columns = ["rule", "clients", "replication", "calls", "completion_s"]
    return Results((), {"runs": pd.DataFrame(rows, columns=columns)}, ())


def stormed() -> Results:
    seconds = np.arange(450)
    series = pd.concat(
        pd.DataFrame(
            {"scenario": name, "second": seconds, "requests_per_s": asked, "in_time_per_s": answered}
        )
        for name, asked, answered in (("280, stall", 560.0, 0.0), ("140, stall", 140.0, 139.0))
    )
    findings = tuple(
        Finding(key, "", "", "", values)
        for key, values in (("recovery", (110.0, 130.0)), ("storm", (559.0, 561.0)))
    )
    return Results(findings, {"series": series}, ())


def test_contention_draws_the_means_and_names_the_curves_apart() -> None:
    figure = FIGURES["backoff-and-jitter"](contended())
    work, time = figure.axes
    np.testing.assert_allclose(work.lines[1].get_xydata(), [[10, 20], [100, 200]])
    np.testing.assert_allclose(time.lines[3].get_xydata(), [[10, 0.4], [100, 4]])
    assert len({line.get_color() for line in work.lines}) == len(RETRIES)
    assert title(figure) == (
        "Jitter is what makes backing off work: with it 100 clients need 0.5 times fewer calls, "
        "4 s instead of 2 s"
    )
    for axes in (work, time):
        heights = sorted(axes.transData.transform((1, text.xyann[1]))[1] for text in axes.texts)
        room = np.diff(heights) / axes.bbox.height
        assert len(heights) == len(RETRIES)
        assert (room > 0.05).all()


def test_the_storm_is_drawn_above_the_recovery() -> None:
    figure = FIGURES["metastable-failure"](stormed())
    above, below = figure.axes
    assert {line.get_ydata()[100] for line in above.lines if len(line.get_xdata()) > 2} == {560.0, 0.0}
    assert {line.get_ydata()[100] for line in below.lines if len(line.get_xdata()) > 2} == {140.0, 139.0}
    assert title(figure) == (
        "After a stall of 10 s at 280 queries a second the database gets 560 a second and "
        "answers none in time; at 140 a second it is well again after 2 min"
    )
    assert {text.get_text() for text in above.texts} >= {"requests", "answered in time", "capacity", "stall"}


@pytest.mark.parametrize(
    ("study", "results"), [("backoff-and-jitter", contended()), ("metastable-failure", stormed())]
)
def test_figures_are_saved_in_a_run(study, results, tmp_path) -> None:
    with RunFolder.create(study, "test", tmp_path) as run:
        run.save_figure(FIGURES[study](results), study)
    files = read_run(run.path).document["files"]
    assert set(files) == {f"{study}.png", f"{study}.svg"}
    assert all(listed["bytes"] > 5000 for listed in files.values())
