"""Protects figures over two parameters: every cell, mark, line and name stands for what was found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from sim.figures import break_even_surface, metric_map
from sim.results import RunFolder
from tests.sim.surfaces import made_up

NAN = math.nan
# Rows from the lowest up: webhook is lower below the diagonal, polling above it.
DIAGONAL = [[-5.0, -5.0, -5.0], [5.0, 0.05, -5.0], [5.0, 5.0, NAN]]


def of_kind(figure: Figure, kind: type, panel: int = 0) -> list:
    return [each for each in figure.axes[panel].collections if isinstance(each, kind)]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_colours_hatches_and_names_say_who_is_better_where() -> None:
    figure = break_even_surface(made_up(DIAGONAL))
    (mesh,) = of_kind(figure, QuadMesh)
    depths = mesh.get_array().reshape(3, 3)
    assert (np.sign(depths.filled(0)) == [[-1, -1, -1], [1, 1, -1], [1, 1, 0]]).all()
    assert depths.mask.tolist() == [[False] * 3, [False] * 3, [False, False, True]]
    assert depths[2, 0] == pytest.approx(math.log(15 / 10)), "by ratio, where all means are above 0"
    assert mesh.norm.vmin == -mesh.norm.vmax
    (hatched,) = of_kind(figure, PolyCollection)
    assert hatched.get_hatch()
    middles = {
        tuple(np.round(np.exp(np.log(path.vertices[:4]).mean(axis=0)), 1)) for path in hatched.get_paths()
    }
    assert len(middles) == 4
    assert {name for name in words(figure) if name} == {"webhook", "polling"}
    at = {text.get_text(): text.xy for text in figure.axes[0].texts if text.get_text()}
    assert at["polling"] in {(1.0, 2.0), (1.0, 4.0), (2.0, 4.0)}, "on a cell that it won"
    assert at["webhook"][1] == 1.0
    assert figure.axes[0].get_title(loc="left").replace("\n", " ") == made_up(DIAGONAL).sentence()


def test_cells_that_cannot_be_told_or_have_no_value_are_marked() -> None:
    figure = break_even_surface(made_up(DIAGONAL))
    marks = {
        line.get_marker(): line.get_xydata().tolist()
        for line in figure.axes[0].lines
        if line.get_linestyle() == "None" and line.get_marker() in "ox" and line.get_markersize() > 8
    }
    assert marks == {"o": [[2.0, 2.0]], "x": [[3.0, 4.0]]}
    note = figure.axes[0].get_xlabel()
    assert "ring: not told apart; cross: undefined" in note
    assert "hatched: polling's side; line: level" in note


def test_the_line_runs_through_the_curve_s_points() -> None:
    surface = made_up([[-5.0, -4.0, -3.0, -2.0], [-2.0, -1.0, 1.0, 2.0], [3.0, 4.0, 5.0, 6.0]])
    figure = break_even_surface(surface)
    (contour,) = of_kind(figure, QuadContourSet)
    (line,) = (path.vertices for path in contour.get_paths())
    curve = surface.curve()
    assert len(curve) == 4
    for found in curve:
        nearest = np.abs(np.log(line[:, 0] / found.x)).argmin()
        assert line[nearest, 1] == pytest.approx(found.y, rel=0.02)


def test_what_is_the_same_everywhere_has_no_line_and_no_side() -> None:
    figure = break_even_surface(made_up([[0.0, 0.0], [0.0, 0.0]], noise=0.0))
    assert not of_kind(figure, QuadContourSet)
    assert not of_kind(figure, PolyCollection)
    assert figure.axes[0].get_xlabel().endswith("\ndash: the same")


def test_theory_is_drawn_where_it_speaks_of_the_metric() -> None:
    told = break_even_surface(made_up(DIAGONAL, metric="requests_per_event"))
    assert "theory: λT = 1" in words(told)
    band = max(told.axes[0].lines, key=lambda line: line.get_linewidth())
    x, y = band.get_xydata().T
    np.testing.assert_allclose(x * y, 1)
    assert "theory: λT = 1" not in words(break_even_surface(made_up(DIAGONAL)))


def test_means_that_touch_0_are_compared_by_difference() -> None:
    """A share that one mechanism has and the other has not is no ratio."""
    surface = made_up([[-10.0, 5.0], [2.0, 5.0]], noise=0.0)
    (mesh,) = of_kind(break_even_surface(surface), QuadMesh)
    assert np.abs(mesh.get_array()).max() == 10.0


def test_a_map_has_a_panel_a_mechanism_in_the_same_colours() -> None:
    surface = made_up([[-5.0, 0.0], [40.0, NAN]])
    figure = metric_map(surface.sweep, "latency_mean_s")
    meshes = [of_kind(figure, QuadMesh, panel)[0] for panel in (0, 1)]
    np.testing.assert_allclose(meshes[0].get_array().reshape(2, 2).filled(-1), [[5, 10], [50, -1]])
    np.testing.assert_allclose(meshes[1].get_array().reshape(2, 2), 10)
    assert meshes[0].norm is meshes[1].norm
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["webhook", "polling"]
    assert figure.get_suptitle() == "latency_mean_s goes from 5 s to 50 s"
    with pytest.raises(ValueError, match="undefined throughout"):
        metric_map(surface.sweep, "freshness")


def test_they_are_saved_in_a_run(tmp_path) -> None:
    with RunFolder.create("surface", "test", tmp_path) as run:
        run.save_figure(break_even_surface(made_up(DIAGONAL)), "surface")
        run.save_figure(metric_map(made_up(DIAGONAL).sweep, "latency_mean_s"), "map")
    assert {path.name for path in run.path.glob("*.png")} == {"surface.png", "map.png"}
