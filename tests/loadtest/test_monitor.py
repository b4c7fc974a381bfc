"""Protects the cost figures: CPU of whole process trees, exact differences, the idle share subtracted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from loadtest.monitor import Monitor, ProcessTree, Reading, usage_between

SPIN = """
import subprocess, sys, time
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, sys.argv[0], "child"])
    spin(0.3); child.wait()
else:
    spin(0.3)
print("done", flush=True); sys.stdin.read()
"""


def reading(at_s: float, cpu_s: float, **values: float) -> Reading:
    given = {"rss_mb": 10.0, "run_wait_s": 0.0, "voluntary_switches": 0, "involuntary_switches": 0, "fds": 5}
    return Reading(at_us=round(at_s * 1e6), cpu_s=cpu_s, **{**given, **values})


def test_usage_is_a_difference_less_the_idle_rate():
    readings = [
        reading(0, 1.0),
        reading(1, 1.1),  # 0.1 CPU-seconds a second doing nothing
        reading(3, 2.1, rss_mb=30.0, voluntary_switches=50, fds=9),
        reading(5, 3.1, rss_mb=20.0, voluntary_switches=80),
    ]
    usage = usage_between(readings, 1_000_000, 5_000_000, idle=(0, 1_000_000))
    assert usage is not None
    assert usage.cpu_s == pytest.approx(2.0 - 0.4)
    assert usage.idle_cpu_per_s == pytest.approx(0.1)
    assert (usage.rss_peak_mb, usage.fds_peak, usage.voluntary_switches) == (30.0, 9, 80)


@pytest.mark.parametrize(
    ("start_s", "end_s", "cpu_s"), [(0.5, 1.5, 1.0), (0, 0.5, 0.5), (1, 9, 1.0), (-5, 1, 1.0)]
)
def test_ends_between_readings_are_interpolated(start_s, end_s, cpu_s):
    readings = [reading(0, 0.0), reading(1, 1.0), reading(2, 2.0)]
    usage = usage_between(readings, round(start_s * 1e6), round(end_s * 1e6))
    assert usage is not None
    assert usage.cpu_s == pytest.approx(cpu_s)
    assert usage.idle_cpu_per_s is None


def test_no_usage_without_two_readings_or_a_span():
    assert usage_between([reading(0, 1.0)], 0, 10) is None
    assert usage_between([reading(0, 1.0), reading(1, 2.0)], 10, 10) is None


def test_a_tree_counts_parent_and_child(tmp_path):
    script = tmp_path / "spin.py"
    script.write_text(SPIN)
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        with Monitor(interval_s=0.02) as monitor:
            monitor.watch("spinner", process.pid)
            assert process.stdout is not None
            tree = ProcessTree(process.pid)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                tree._reads = 0  # look for children now, not at the next tenth reading
                latest = tree.read()
                assert latest is not None
                if latest.cpu_s >= 0.6:
                    break
                time.sleep(0.02)
        assert latest.cpu_s >= 0.6
        assert latest.rss_mb > 5
        # What parent and child share counts once.
        shares = [each.pss_mb for each in monitor.readings["spinner"] if each.pss_mb is not None]
        if sys.platform == "linux":
            assert 0 < shares[-1] < latest.rss_mb
        if sys.platform == "linux":
            assert latest.run_wait_s is not None
            assert latest.voluntary_switches is not None
        assert len(monitor.readings["spinner"]) > 2
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_an_ended_process_is_no_error():
    process = subprocess.Popen([sys.executable, "-c", ""])
    tree = ProcessTree(process.pid)
    process.wait()
    assert tree.read() is None


def test_threads_count_too():
    spun, leave = threading.Event(), threading.Event()

    def spin() -> None:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass
        spun.set()
        leave.wait()  # a thread that has ended can no longer be read

    tree = ProcessTree(os.getpid())
    before = tree.read()
    thread = threading.Thread(target=spin)
    thread.start()
    try:
        assert spun.wait(30)
        latest = tree.read()
    finally:
        leave.set()
        thread.join()
    assert before is not None
    assert latest is not None
    assert latest.cpu_s - before.cpu_s >= 0.099


def test_without_procfs_psutil_serves_and_the_unknown_is_none(monkeypatch):
    monkeypatch.setattr("loadtest.monitor.sys.platform", "darwin")
    seen = ProcessTree(os.getpid()).read()
    assert seen is not None
    assert seen.cpu_s > 0
    assert (seen.run_wait_s, seen.voluntary_switches, seen.involuntary_switches) == (None, None, None)


def test_what_a_successor_uses_is_added_to_what_the_former_process_used():
    former = reading(3, 2.0, run_wait_s=0.5, voluntary_switches=40, involuntary_switches=4)
    later = reading(5, 0.25, run_wait_s=0.1, voluntary_switches=3, involuntary_switches=None).after(former)
    assert (later.at_us, later.cpu_s, later.rss_mb) == (5_000_000, 2.25, 10.0)
    assert (later.run_wait_s, later.voluntary_switches) == (pytest.approx(0.6), 43)
    assert later.involuntary_switches is None
