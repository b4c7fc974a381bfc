"""Protects: a run folder is written once, says so when it is not whole, and notices any change."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import provenance, results
from sim.audience import everybody
from sim.errors import InputError
from sim.records import RECORD_COLUMNS, Deliveries, Window
from sim.results import RECORD_SCHEMA, RunFolder, read_run
from sim.scenario import load_scenario, scenario_from


def records(n: int = 3) -> pd.DataFrame:
    visible = np.arange(n) + 0.1
    visible[-1] = np.nan
    return pd.DataFrame(
        {
            "event": np.arange(n),
            "subscriber": 0,
            "created": np.arange(n, dtype=float),
            "first_attempt": np.arange(n) + 1 / 3,
            "visible": visible,
            "attempts": 1,
            "copies": 1,
            "via": pd.Categorical(["webhook"] * n),
            "status": pd.Categorical(["delivered"] * (n - 1) + ["lost"]),
        }
    )


def document(run: RunFolder) -> dict:
    return json.loads((run.path / "run.json").read_text())


def test_a_run_reads_back_as_it_was_written(tmp_path):
    scenario = load_scenario("shop-orders")
    frame, table = records(), pd.DataFrame({"interval_s": [1.0, 0.1], "latency_mean_s": [1 / 3, 2e-17]})
    digits = pd.DataFrame({"uniform": np.random.default_rng(1).random(1000)})
    with RunFolder.create("demo", ["hookbench", "demo"], tmp_path, scenario=scenario, seeds=(1, 2)) as run:
        run.save_records(frame)
        run.save_table(table, "summary")
        run.save_table(digits, "digits")
        (run.path / "servers").mkdir()
        (run.path / "servers" / "cpu.csv").write_text("t,cpu\n")
        run.note(event_loop="uvloop", sample_counts={"webhook": np.int64(3)}, void=[])
    back = read_run(run.path)
    assert back.complete
    assert back.reason is None
    pd.testing.assert_frame_equal(back.records(), frame, check_dtype=False)
    pd.testing.assert_frame_equal(back.table("summary"), table, check_exact=True)
    pd.testing.assert_frame_equal(back.table("digits"), digits, check_exact=True)
    assert back.scenario == scenario
    assert back.notes == {"event_loop": "uvloop", "sample_counts": {"webhook": 3}, "void": []}
    assert back.document["command"] == "hookbench demo"
    assert back.document["seeds"] == [1, 2]
    assert back.document["scenario"]["digest"] == scenario.digest()
    assert set(back.document["files"]) == {"records.parquet", "summary.csv", "digits.csv", "servers/cpu.csv"}
    assert back.document["duration_s"] >= 0
    assert back.document["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert back.document["machine"]["cpu_count"] == os.cpu_count()


def test_records_keep_their_stated_schema_and_further_columns(tmp_path):
    with RunFolder.create("run", "test", tmp_path) as run:
        path = run.save_records(records().assign(arm="webhook", uncorrected_s=0.5))
    written = pq.read_schema(path)
    assert written.names == [*RECORD_SCHEMA.names, "arm", "uncorrected_s"]
    assert all(written.field(name).type == RECORD_SCHEMA.field(name).type for name in RECORD_SCHEMA.names)
    assert np.isnan(pq.read_table(path)["visible"].to_numpy()[-1])  # NaN, not null
    assert pq.read_table(path)["visible"].null_count == 0


def test_the_engines_own_records_read_back_unchanged(tmp_path):
    nan = float("nan")
    frame = Deliveries(
        audience=everybody(np.array([0.1, 0.2]), 2),
        first_attempt=np.array([[0.3, 0.4], [0.5, nan]]),
        visible=np.array([[0.6, nan], [0.8, nan]]),
        attempts=np.array([[1, 2], [1, 0]], dtype=np.int32),
        copies=np.array([[1, 0], [1, 0]], dtype=np.int32),
        via=np.zeros((2, 2), dtype=np.int8),
        status=np.array([[0, 1], [0, 2]], dtype=np.int8),
    ).frame(Window(0.0, 1.0))
    with RunFolder.create("run", "test", tmp_path) as run:
        run.save_records(frame)
        run.save_records(frame.astype({"via": str, "status": str}), "from_strings")
    for name in ("records", "from_strings"):
        back = read_run(run.path).records(name)
        pd.testing.assert_frame_equal(back, frame, check_categorical=False)
    assert tuple(RECORD_SCHEMA.names) == RECORD_COLUMNS


def test_records_without_a_column_of_the_schema_are_refused(tmp_path):
    with RunFolder.create("run", "test", tmp_path) as run, pytest.raises(ValueError, match="lack visible"):
        run.save_records(records().drop(columns="visible"))


def test_no_run_is_ever_overwritten(tmp_path):
    paths = [RunFolder.create("same", "test", tmp_path).path for _ in range(3)]
    assert len(set(paths)) == 3
    with RunFolder.create("run", "test", tmp_path) as run:
        run.save_table(records(), "summary")
        with pytest.raises(ValueError, match="written once"):
            run.save_table(records(), "summary")


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), "interrupted"), (OSError("disk full"), "OSError: disk full")]
)
def test_an_interrupted_run_is_readable_and_says_so(tmp_path, error, reason):
    run = RunFolder.create("run", "test", tmp_path)
    run.save_records(records())
    with pytest.raises(type(error)), run:
        raise error
    back = read_run(run.path)
    assert not back.complete
    assert back.reason == reason
    assert len(back.records()) == 3


def test_a_killed_run_is_incomplete_and_keeps_its_notes(tmp_path):
    program = textwrap.dedent("""
        import sys, time
        from sim.results import RunFolder
        with RunFolder.create("killed", "test", sys.argv[1]) as run:
            run.note(event_loop="uvloop")
            print(run.path, flush=True)
            time.sleep(60)
        """)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    back = read_run(path)
    assert not back.complete
    assert "killed" in str(back.reason)
    assert back.notes == {"event_loop": "uvloop"}


@settings(max_examples=25, deadline=None)
@given(data=st.data(), content=st.binary(min_size=1, max_size=200))
def test_any_changed_byte_is_noticed_and_the_file_named(tmp_path_factory, data, content):
    with RunFolder.create("run", "test", tmp_path_factory.mktemp("out")) as run:
        (run.path / "samples.bin").write_bytes(content)
        (run.path / "other.bin").write_bytes(content)
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[at] ^= data.draw(st.integers(1, 255))
    (run.path / "samples.bin").write_bytes(bytes(flipped))
    with pytest.raises(InputError, match=r"samples\.bin has changed"):
        read_run(run.path)


def test_a_missing_file_is_named(tmp_path):
    with RunFolder.create("run", "test", tmp_path) as run:
        run.save_records(records())
    (run.path / "records.parquet").unlink()
    with pytest.raises(InputError, match=r"records\.parquet is missing"):
        read_run(run.path)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"schema_version": 99, "files": {}}', "\x00\xff"])
def test_what_is_no_run_folder_is_one_clear_error(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=str(tmp_path)) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_the_run_lacks_is_named_with_those_it_has(tmp_path):
    with RunFolder.create("run", "test", tmp_path) as run:
        run.save_table(records(), "summary")
    with pytest.raises(InputError, match=r"no details\.csv; it has summary\.csv"):
        read_run(run.path).table("details")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "two words"])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="must be letters"):
        RunFolder.create(name, "test", tmp_path)


def test_a_parent_that_is_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the run folder"):
        RunFolder.create("run", "test", tmp_path / "file")


def test_the_trace_of_a_scenario_is_hashed(tmp_path):
    (tmp_path / "events.csv").write_text("created\n0\n1\n")
    workload = {"kind": "trace", "path": str(tmp_path / "events.csv")}
    scenario = scenario_from({"name": "t", "workload": workload, "run": {"duration_s": 10.0}})
    run = RunFolder.create("run", "test", tmp_path / "out", scenario=scenario)
    # SHA-256 of the twelve bytes above, from coreutils' sha256sum.
    assert (
        document(run)["scenario"]["trace_sha256"]
        == (
            subprocess.run(
                ["sha256sum", tmp_path / "events.csv"], capture_output=True, text=True, check=True
            ).stdout.split()[0]
        )
    )
    gone = scenario.with_values(**{"workload.path": str(tmp_path / "gone.csv")})
    with pytest.raises(InputError, match=r"gone\.csv"):
        RunFolder.create("run", "test", tmp_path / "out", scenario=gone)


def test_figures_are_anything_with_savefig(tmp_path):
    class Drawing:
        def savefig(self, fname: Path, /, *, dpi: float, metadata: dict) -> None:
            fname.write_text(f"{fname.suffix} at {dpi}")

    with RunFolder.create("run", "test", tmp_path) as run:
        assert run.save_figure(Drawing(), "latency_cdf").name == "latency_cdf.png"
    assert set(read_run(run.path).document["files"]) == {"latency_cdf.png", "latency_cdf.svg"}


def test_numbers_json_cannot_hold_become_null_and_strange_objects_an_error(tmp_path):
    run = RunFolder.create(
        "run", "test", tmp_path, extra={"mean": float("nan"), "all": np.array([1.0, np.inf])}
    )
    assert document(run)["notes"] == {"mean": None, "all": [1.0, None]}
    with pytest.raises(TypeError, match="cannot hold a object"):
        run.note(strange=object())
    assert document(run)["notes"] == {"mean": None, "all": [1.0, None]}


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_code_and_dirty_only_when_the_code_differs(tmp_path):
    assert provenance.code_commit(tmp_path).label == "nogit"
    git(tmp_path, "init", "-q")
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "engine.py").write_text("")
    assert provenance.code_commit(tmp_path).label == "nogit"  # inside somebody's repository, but not its code
    git(tmp_path, "add", "sim")
    git(tmp_path, "commit", "-qm", "first")
    sha = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "my-scenario.toml").write_text("")
    assert provenance.code_commit(tmp_path) == provenance.Commit(sha, dirty=False)
    (tmp_path / "sim" / "new.py").write_text("")
    assert provenance.code_commit(tmp_path).label == f"{sha[:8]}-dirty"


def test_without_git_a_run_is_still_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with RunFolder.create("run", "test", tmp_path / "out") as run:
        pass
    assert run.path.name.endswith("_run_nogit")
    assert read_run(run.path).document["commit"] is None


def test_inside_a_git_hook_the_commit_is_still_that_of_the_code(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(provenance.CODE_ROOT / ".git"))
    assert provenance.code_commit(tmp_path).label == "nogit"


def test_a_git_that_hangs_is_given_up(tmp_path, monkeypatch):
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "GIT_TIMEOUT_S", 0.2)
    assert provenance.code_commit().label == "nogit"


def test_run_json_is_never_half_written(tmp_path, monkeypatch):
    run = RunFolder.create("run", "test", tmp_path)
    before = document(run)

    def dump(_document: object, file, **_: object) -> None:
        file.write("{")
        raise OSError("disk full")

    monkeypatch.setattr(results.json, "dump", dump)
    with pytest.raises(OSError, match="disk full"):
        run.note(more=1)
    assert document(run) == before


def test_the_newest_reference_run_of_a_name_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "REFERENCE", tmp_path)
    with pytest.raises(InputError, match=r"has no run called 'demo'; it has none"):
        results.reference_run("demo")
    for name, day in (("demo", 1), ("demo", 2), ("my-demo", 3)):
        with RunFolder.create(name, "x", tmp_path) as run:
            run.note(day=day)
        run.path.rename(tmp_path / f"2026010{day}T000000Z_{name}_00000000")
    assert results.reference_run("demo").notes["day"] == 2
    with pytest.raises(InputError, match=r"no run called 'race'; it has demo, my-demo"):
        results.reference_run("race")
