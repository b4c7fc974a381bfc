"""Protects: a recorded history is read exactly, or refused in one line that names the line at fault."""

import csv
import io
import json
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.errors import TraceError
from sim.scenario import scenario_from
from sim.traces import describe, read_trace
from sim.workload import event_times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
instants = st.datetimes(datetime(1900, 1, 1), datetime(2180, 1, 1)).map(
    lambda naive: naive.replace(tzinfo=UTC)
)
relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(folder: Path, text: str | bytes, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path, column: str = "created", **options) -> str:
    with pytest.raises(TraceError) as caught:
        read_trace(path, column, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


# --- what is accepted ---------------------------------------------------------------------------------------


@relaxed
@given(times=st.lists(instants, min_size=1, max_size=30, unique=True), minutes=st.integers(-720, 720))
def test_iso_times_with_any_offset_keep_every_microsecond(tmp_path, times, minutes):
    times.sort()
    zone = timezone(timedelta(minutes=minutes))
    trace = read_trace(
        write(tmp_path, "\n".join(["created", *(at.astimezone(zone).isoformat() for at in times)])), "created"
    )
    assert trace.times_s.tolist() == [(at - times[0]) // US / 10**6 for at in times]
    assert trace.origin == times[0]
    assert trace.unit == "iso8601"
    assert trace.times_s.dtype == np.float64


@relaxed
@given(
    unit=st.sampled_from([("s", 10**6), ("ms", 10**3), ("us", 1), ("ns", -1000)]),
    offsets_us=st.lists(st.integers(0, 10**15), min_size=1, max_size=30, unique=True),
)
def test_epoch_numbers_of_every_unit_keep_every_microsecond(tmp_path, unit, offsets_us):
    name, per_us = unit
    offsets_us.sort()
    start_us = 1_700_000_000_000_000
    absolute = [start_us + offset for offset in offsets_us]
    if per_us < 0:
        cells = [str(us * 1000) for us in absolute]
    else:
        digits = len(str(per_us)) - 1
        cells = [f"{us // per_us}.{us % per_us:0{digits}d}" if digits else str(us) for us in absolute]
    as_csv = read_trace(write(tmp_path, "\n".join(["t", *cells])), "t")
    as_json = read_trace(write(tmp_path, "\n".join(f'{{"t": {cell}}}' for cell in cells), "e.jsonl"), "t")
    assert as_csv.times_s.tolist() == [(offset - offsets_us[0]) / 10**6 for offset in offsets_us]
    np.testing.assert_array_equal(as_csv.times_s, as_json.times_s)
    assert as_csv.unit == as_json.unit == name
    assert as_csv.origin == EPOCH + timedelta(microseconds=absolute[0])


def test_a_century_of_microseconds_is_exact_in_float64(tmp_path):
    trace = read_trace(write(tmp_path, "created\n1900-01-01\n1999-12-31T23:59:59.999999\n"), "created")
    assert trace.times_s[1] == ((datetime(2000, 1, 1) - datetime(1900, 1, 1)) // US - 1) / 1e6


def test_nanoseconds_survive(tmp_path):
    path = write(tmp_path, "created\n2024-05-01T00:00:00.000000001Z\n2024-05-01T00:00:00.000000004Z\n")
    assert read_trace(path, "created").times_s.tolist() == [0.0, 3e-9]
    path = write(
        tmp_path, '{"created": 1714521600.000000001}\n{"created": 1714521600.000000004}\n', "e.jsonl"
    )
    assert read_trace(path, "created").times_s.tolist() == [0.0, 3e-9]


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("2024-05-02", 86400),
        ("2024-05-02 01:00", 90000),
        ("2024-05-02T01", 90000),
        ("2024-05-02T01:00:00.5", 90000.5),
    ],
)
def test_a_missing_offset_is_utc_and_a_missing_time_midnight(tmp_path, cell, seconds):
    assert read_trace(write(tmp_path, f"created\n2024-05-01\n{cell}\n"), "created").times_s[1] == seconds
    assert read_trace(write(tmp_path, f"created\n{cell}\n"), "created").origin.tzinfo == UTC


def test_offsets_may_change_within_a_file_and_git_s_own_format_is_iso(tmp_path):
    path = write(
        tmp_path, "created\n2024-03-31 00:30:00 +0100\n2024-03-31 04:30:00 +0200\n2024-03-31T03:00:00Z\n"
    )
    assert read_trace(path, "created").times_s.tolist() == [0.0, 3 * 3600.0, 3.5 * 3600]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_delimiters_line_ends_and_byte_order_marks(tmp_path, mark, end, bom):
    rows = [["id", " created ", "note"], ["1", "2024-05-01", '"a; b, c"'], ["2", " 2024-05-02 ", ""]]
    path = write(tmp_path, bom + end.join(mark.join(row) for row in rows) + end + end)
    assert read_trace(path, "created").times_s.tolist() == [0.0, 86400.0]


def test_json_lines_are_known_by_their_name_or_their_first_character(tmp_path):
    text = (
        '{"id": 1, "created": "2024-05-01T00:00:00Z"}\r\n{"created": "2024-05-01T00:00:01Z", "id": 2}\r\n\r\n'
    )
    for name in ["e.jsonl", "e.ndjson", "e.json", "e.log"]:
        assert read_trace(write(tmp_path, text, name), "created").times_s.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("first", "unit"),
    [
        ("0", "s"),
        ("1714521600", "s"),
        ("1714521600000", "ms"),
        ("1714521600000000", "us"),
        ("1714521600000000000", "ns"),
    ],
)
def test_the_unit_follows_from_the_magnitude_and_can_be_stated(tmp_path, first, unit):
    path = write(tmp_path, f"t\n{first}\n")
    assert read_trace(path, "t").unit == unit
    assert read_trace(write(tmp_path, "t\n5\n9\n"), "t", unit="ms").times_s.tolist() == [0.0, 0.004]


def test_sorting_and_keeping_are_reported(tmp_path):
    path = write(tmp_path, "t\n5\n3\n4\n4\n")
    trace = read_trace(path, "t", order="sort", duplicates="keep")
    assert trace.times_s.tolist() == [0.0, 1.0, 1.0, 2.0]
    assert (trace.rows, trace.reordered, trace.repeated) == (4, 3, 1)
    assert trace.origin == EPOCH + timedelta(seconds=3)


@relaxed
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 10**9), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
        ),
        min_size=1,
        max_size=20,
    ),
    mark=st.sampled_from(",;\t"),
)
def test_whatever_else_is_in_a_quoted_row_every_time_and_line_is_right(tmp_path, rows, mark):
    """Any CSV the standard library writes: all rows read; the faulty one named by its physical line."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["note", "created"])
    for at, note in rows:
        writer.writerow([note, at])
    good = out.getvalue()
    trace = read_trace(write(tmp_path, good), "created", order="sort", duplicates="keep")
    assert trace.times_s.tolist() == sorted(at - min(at for at, _ in rows) for at, _ in rows)
    writer.writerow(["last", "yesterday"])
    lines_before = good.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    refused = refusal(write(tmp_path, out.getvalue()), order="sort", duplicates="keep")
    assert refused.startswith(f":{lines_before + 1}: created 'yesterday' is not a timestamp")


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "created\n2\n3\n1\n",
            ":4: created '1' is earlier than line 3 before it; order = \"sort\" accepts that",
        ),
        (
            "created\n1\n2\n2\n",
            ":4: created '2' is the same instant as line 3; duplicates = \"keep\" accepts that",
        ),
        ("created\n1\n\n2\n", ":3: a blank line; blank lines are accepted at the end only"),
        ("id,created\na,1\nb,\nc,3\n", ":3: created '' is missing; every row needs a timestamp"),
        ("id,created\na,1\nb\n", ":3: the row has 1 columns where the header has 2"),
        ("id,created\na,1\nb,2,x\n", ":3: the row has 3 columns where the header has 2"),
        ("created\n1\ntomorrow\n", ":3: created 'tomorrow' is not a timestamp; accepted are ISO 8601"),
        (
            "created\n2024-05-01\n1714564800\n",
            ":3: created '1714564800' is an epoch number among ISO 8601 times",
        ),
        ("created\n1714564800\n2024-05-01\n", ":3: created '2024-05-01' is ISO 8601 among epoch numbers"),
        (
            "created\n2024-05-01T00:00Z\n2024-05-02T00:00\n",
            ":3: created '2024-05-02T00:00' has no offset where",
        ),
        ("created\n2024-05-01\n2024-05-02T00:00Z\n", ":3: created '2024-05-02T00:00Z' has an offset where"),
        ("created\n2023-02-28\n2023-02-29\n", ":3: created '2023-02-29' is no instant of the calendar"),
        ("created\n2024-05-01T23:59:60Z\n", ":2: created '2024-05-01T23:59:60Z' is no instant"),
        ("created\n1200-01-01\n", ":2: created '1200-01-01' is no instant of the calendar in the years 1678"),
        ("created\n2024-05-01T00:00:00.000000001\n2300-01-01\n", ":3: created '2300-01-01' is no instant"),
        (
            "created\n1714564800\n1714564801000\n",
            ":3: created '1714564801000' reads as ms by its magnitude, but",
        ),
        ("created\n99999999999999999999\n", ":2: created '99999999999999999999' read in ns lies outside"),
        ("created\n٣\n", ":2: created '٣' is not a timestamp"),
        ("created\nnow\n", ":2: created 'now' is not a timestamp"),
        ("created\n", ": there is a header but no row under it"),
        ("", ": is empty; a CSV file with a header or JSON lines are accepted"),
        ("\n \n", ": is empty"),
        ("2024-05-01\n2024-05-02\n", ":1: a header with the column 'created' is needed before the first row"),
        ("id,createdat,kind\n1,2,3\n", ":1: no column 'created'; did you mean 'createdat'? (there are: id, "),
        ("created,created\n1,2\n", ":1: 2 columns are called 'created'; rename all but one"),
        ('created,note\n1,"a\nb"\n2,"c\n', ":4: not CSV from here on: unexpected end of data"),
        ('note,created\n"a\nb\nc",2\nd,1\n', ":5: created '1' is earlier than line 2 before it"),
        (
            "note,created\n" + "x" * 200_000 + ",1\n",
            ":2: not CSV from here on: field larger than field limit",
        ),
        (b"created\n1\n\xff\xfe\n", ":3: byte 0xff is no UTF-8 text"),
        (b"created\n1\n2\0\n", ":3: byte 0x00 is no UTF-8 text"),
        (
            b"\x1f\x8b\x08\x00",
            ":1: byte 0x8b is no UTF-8 text; CSV and JSON lines are accepted, neither compressed",
        ),
    ],
)
def test_a_bad_csv_file_is_refused_with_its_line(tmp_path, text, expected):
    assert refusal(write(tmp_path, text)).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"created": 1}\n{"created": }\n', ":2: not JSON: Expecting value at column 13"),
        ('{"created": 1}\n\n{"created": 2}\n', ":2: a blank line; blank lines are accepted at the end only"),
        ('{"created": 1}\n[2]\n', ":2: not a JSON object; one object a line is accepted"),
        (
            '{"created": 1}\n{"create": 2}\n',
            ":2: no key 'created'; did you mean 'create'? (there are: create)",
        ),
        ('{"created": null}\n', ":1: created '' is missing"),
        ('{"created": true}\n', ":1: created is true; a string or a number is accepted"),
        ('{"created": {"at": 1}}\n', ':1: created is {"at": "1"}; a string or a number is accepted'),
        ('{"created": NaN}\n', ":1: created 'NaN' is not a timestamp"),
        ('{"created": 2}\n{"created": 1}\n', ":2: created '1' is earlier than line 1 before it"),
        ("[" * 10_000, ":1: a JSON array; one JSON object a line is accepted"),
        ('{"created":' * 100_000, ":1: "),
    ],
)
def test_a_bad_json_lines_file_is_refused_with_its_line(tmp_path, text, expected):
    assert refusal(write(tmp_path, text, "events.jsonl")).startswith(expected)


def test_files_that_are_not_there_or_not_files(tmp_path):
    assert refusal(tmp_path / "gone.csv") == ": no such trace file"
    assert refusal(tmp_path).startswith(": cannot be read: ")


def test_a_stated_unit_is_for_numbers_only(tmp_path):
    assert "though the unit is stated as 'ms'" in refusal(write(tmp_path, "created\n2024-05-01\n"), unit="ms")


@pytest.mark.parametrize("option", ["order", "duplicates", "unit"])
def test_an_unknown_option_names_the_known_ones(tmp_path, option):
    path = write(tmp_path, "created\n1\n")
    with pytest.raises(TraceError, match=f"{option} must be one of .*, got 'maybe'"):
        read_trace(path, "created", **{option: "maybe"})


@relaxed
@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)),
    name=st.sampled_from(["e.csv", "e.jsonl"]),
)
def test_no_content_leads_to_anything_but_a_trace_or_one_line(tmp_path, content, name):
    path = write(tmp_path, b"created\n" + content if name == "e.csv" else content, name)
    try:
        trace = read_trace(path, "created", order="sort", duplicates="keep")
    except TraceError:
        assert "\n" not in refusal(path, order="sort", duplicates="keep")
    else:
        assert trace.times_s[0] == 0
        assert np.all(np.diff(trace.times_s) >= 0)


# --- use ----------------------------------------------------------------------------------------------------


def test_a_scenario_replays_a_trace_faster(tmp_path):
    path = write(tmp_path, "created\n2024-05-01T00:00:00Z\n2024-05-01T01:00:00Z\n")
    workload = {"kind": "trace", "path": str(path), "speedup": 60.0}
    scenario = scenario_from({"name": "t", "workload": workload, "run": {"duration_s": 100.0}})
    assert event_times(scenario, 1).tolist() == [0.0, 60.0]


def test_a_million_rows_take_seconds(tmp_path):
    start = np.datetime64("2024-05-01T00:00:00.000000")
    stamps = np.datetime_as_string(
        start + np.arange(1_000_000) * np.timedelta64(1_234_567, "us"), timezone="UTC"
    )
    path = write(tmp_path, "id,created\n" + "\n".join(f"{i},{at}" for i, at in enumerate(stamps)))
    began = time.process_time()
    trace = read_trace(path, "created")
    assert time.process_time() - began < 10  # about 2 s on an idle machine
    np.testing.assert_array_equal(
        np.rint(trace.times_s * 1e6).astype(np.int64), np.arange(1_000_000) * 1_234_567
    )


def test_a_poisson_process_is_described_as_one(tmp_path):
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.exponential(2.0, 20_000))
    path = write(tmp_path, "\n".join(json.dumps({"t": f"{t:.6f}"}) for t in times), "e.jsonl")
    figures = describe(read_trace(path, "t"))
    assert figures["rows"] == 20_000
    # Standard errors at n = 20,000: mean and cv of the gaps 1/sqrt(n) = 0.7 %; the dispersion over
    # m = 2,000 windows sqrt(2/m) = 3.2 %. Bounds are 5 of each.
    assert abs(figures["mean_rate_per_s"] / 0.5 - 1) < 0.036
    assert abs(figures["gap_cv"] - 1) < 0.036
    assert abs(figures["dispersion_of_counts"] - 1) < 0.16
    assert figures["longest_gap_s"] == pytest.approx(np.diff(times).max(), abs=2e-6)


def test_a_bursty_history_and_tiny_ones_are_described(tmp_path):
    bursts = [f"{1000 * burst + k}" for burst in range(10) for k in range(10)]
    figures = describe(read_trace(write(tmp_path, "\n".join(["t", *bursts])), "t"))
    assert figures["gap_cv"] > 2
    single = describe(read_trace(write(tmp_path, "t\n5\n"), "t"))
    assert (single["rows"], single["span_s"], single["mean_rate_per_s"], single["longest_gap_s"]) == (
        1,
        0.0,
        None,
        None,
    )
    twins = describe(read_trace(write(tmp_path, "t\n5\n5\n5\n"), "t", duplicates="keep"))
    assert (twins["repeated"], twins["gap_cv"], twins["mean_rate_per_s"]) == (2, None, None)
