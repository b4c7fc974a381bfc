"""Protects the shape of the house: which way imports go, and that `sim` is quick to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVERS = (
    *("loadtest.receiver", "loadtest.provider", "loadtest.consumers", "loadtest.brokers", "loadtest.inbox"),
    "loadtest.serve",
)


def modules() -> dict[str, set[str]]:
    """Every module of ours -> the absolute names it imports, wherever in the file."""
    found = {}
    for path in [*ROOT.glob("sim/**/*.py"), *ROOT.glob("loadtest/**/*.py"), ROOT / "hookbench.py"]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = set(imports_of(path))
    return found


def imports_of(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def importing(packages: tuple[str, ...], imported: set[str]) -> list[str]:
    return sorted(name for name in imported if any(name == p or name.startswith(f"{p}.") for p in packages))


MODULES = modules()


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m == "sim" or m.startswith("sim.")))
def test_sim_never_imports_the_load_test(module: str) -> None:
    assert importing(("loadtest", "locust", "gevent", "hookbench"), MODULES[module]) == []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith("sim.theory")))
def test_theory_knows_nothing_of_the_models(module: str) -> None:
    """What the models are held against must not be computed by them."""
    models = ("sim.engine", "sim.kernels", "sim.launch", "sim.mechanisms", "sim.metrics", "sim.policies")
    assert importing(models, MODULES[module]) == []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if "figures" not in m.split(".")))
def test_only_figures_import_matplotlib(module: str) -> None:
    assert importing(("matplotlib",), MODULES[module]) == []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith(SERVERS)))
def test_servers_never_import_locust(module: str) -> None:
    assert importing(("locust", "gevent", "loadtest.scenarios"), MODULES[module]) == []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith("loadtest.scenarios")))
def test_locust_files_never_import_the_servers(module: str) -> None:
    assert importing(SERVERS, MODULES[module]) == []


def loaded_by(statement: str) -> set[str]:
    """The modules a fresh interpreter holds after a statement."""
    script = f"import sys; {statement}; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(answer.stdout.split())


HEAVY = {"numba", "pandas", "scipy", "matplotlib", "pyarrow", "simpy", "locust", "gevent", "aiohttp"}


@pytest.mark.parametrize("statement", ["import sim", "import sim.cli", "import hookbench"])
def test_the_front_door_opens_at_once(statement: str) -> None:
    """Nothing heavy is loaded until a command needs it: a cause of slowness, not a timing."""
    assert loaded_by(statement) & HEAVY == set()


def test_loading_a_scenario_needs_no_engine() -> None:
    assert loaded_by("import sim; sim.load_scenario('shop-orders')") & HEAVY == set()


def test_simulating_is_free_of_gevent() -> None:
    loaded = loaded_by("import sim, sim.engine, sim.mechanisms.webhook, sim.metrics, sim.results")
    assert loaded & {"locust", "gevent", "matplotlib"} == set()


def test_a_server_process_stays_small() -> None:
    loaded = loaded_by("import loadtest.serve, loadtest.receiver, loadtest.provider, loadtest.consumers")
    assert loaded & {"numba", "pandas", "scipy", "matplotlib", "pyarrow", "locust", "gevent"} == set()
