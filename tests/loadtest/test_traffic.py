"""Protects storms and crowds: exact shares, the events' own traffic untouched, all of it from the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.crowd import adaptive_schedule, phases_s, shaped_schedule
from loadtest.plans import CROWDS, LISTENERS, SENDERS, Wishes, plan_of, scenario_for
from loadtest.schedule import Plan
from loadtest.traffic import (
    COPY,
    FORGED,
    GENUINE,
    SENDER_STORMS,
    parse_storm,
    parse_storms,
    payload_sizes,
    retry_delays_us,
    traffic,
)
from sim.errors import InputError
from sim.scenario import Scenario, scenario_from

instants = st.lists(st.integers(0, 10_000_000), min_size=1, max_size=200).map(sorted).map(np.array)


def scenario(**changes: object) -> Scenario:
    base = {
        "name": "s",
        "workload": {"kind": "poisson", "rate_per_s": 20.0, "payload_bytes": 900},
        "run": {"duration_s": 4.0},
    }
    return scenario_from(base).with_values(**changes)


@settings(max_examples=50)
@given(
    events_us=instants,
    duplicated=st.floats(0, 1),
    times=st.integers(2, 5),
    forged=st.floats(0, 0.9),
    seed=st.integers(0, 2**63 - 1),
)
def test_storms_add_requests_and_leave_the_events_as_they_were(events_us, duplicated, times, forged, seed):
    texts = [f"duplicates:share={duplicated},times={times},within=0.5", f"forgeries:share={forged}"]
    storms = parse_storms(texts, SENDER_STORMS, "webhook")
    requests = traffic(events_us, storms, seed)
    assert (np.diff(requests.offsets_us) >= 0).all()
    genuine = requests.kind == GENUINE
    assert requests.offsets_us[genuine].tolist() == events_us.tolist()
    assert requests.event[genuine].tolist() == list(range(events_us.size))
    copies = requests.kind == COPY
    assert copies.sum() % (times - 1) == 0
    late_us = requests.offsets_us[copies] - events_us[requests.event[copies]]
    assert ((late_us >= 0) & (late_us <= 500_000)).all()
    forgeries = requests.kind == FORGED
    others = int((~forgeries).sum())
    assert forgeries.sum() == round(others * forged / (1 - forged))
    # A forgery is no event of the list, and falls among the events.
    assert (requests.event[forgeries] >= events_us.size).all()
    assert np.unique(requests.event[forgeries]).size == forgeries.sum()
    assert (
        (requests.offsets_us[forgeries] >= events_us[0]) & (requests.offsets_us[forgeries] <= events_us[-1])
    ).all()
    again = traffic(events_us, storms, seed)
    assert all(
        np.array_equal(getattr(requests, name), getattr(again, name)) for name in ("offsets_us", "event")
    )


def test_the_share_of_duplicates_is_the_one_asked_for():
    # 10,000 independent events with p = 0.3: four standard deviations are 183.
    storms = parse_storms(["duplicates:share=0.3"], SENDER_STORMS, "webhook")
    requests = traffic(np.arange(10_000), storms, 1)
    assert abs(int((requests.kind == COPY).sum()) - 3000) < 183


def test_sizes_are_lognormal_about_the_mean():
    sizes = payload_sizes(3000, 0.5, 20_000, 7)
    # Mean within 4 standard errors (3000 * 0.5 / sqrt(20000) = 10.6), and the coefficient of variation near.
    assert abs(sizes.mean() - 3000) < 43
    assert sizes.std() / sizes.mean() == pytest.approx(0.5, rel=0.05)
    assert np.array_equal(sizes, payload_sizes(3000, 0.5, 20_000, 7))
    assert payload_sizes(3000, 0.0, 5, 7).size == 0


def test_retries_follow_the_models_policy_and_end_with_the_storm():
    retry = {
        "kind": "exponential",
        "base_s": 1.0,
        "factor": 2.0,
        "cap_s": 60.0,
        "max_attempts": 9,
        "jitter": "none",
    }
    storm = parse_storm("retries:within=10")
    delays = retry_delays_us(scenario(**{"webhook.retry": retry}), storm, 1, 3)
    # 1 + 2 + 4 s are within 10 s, the fourth delay of 8 s is not.
    assert delays[:, :4].tolist() == [[1_000_000, 2_000_000, 4_000_000, -1]] * 3
    assert retry_delays_us(scenario(**{"webhook.retry": {"kind": "none"}}), storm, 1, 3).shape == (3, 0)
    assert retry_delays_us(scenario(), None, 1, 3).size == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("duplicate:share=1", "no storm is called 'duplicate'; did you mean 'duplicates'?"),
        ("duplicates", "share is missing, as in duplicates:share=0.3,times=3"),
        ("duplicates:share=1.5", "share must be from 0 to 1, got '1.5'"),
        ("duplicates:share=0.5,times=1", "times must be a whole number from 2 to 1000, got '1'"),
        ("duplicates:share=0.5,times=2.5", "times must be a whole number from 2 to 1000, got '2.5'"),
        ("forgeries:share=1", "share must be from 0 to below 1, got '1'"),
        ("herd:by=3", "herd has no 'by'"),
    ],
)
def test_a_bad_storm_is_refused_in_one_line(text, said):
    with pytest.raises(InputError) as refused:
        parse_storm(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("arm", "wishes", "said"),
    [
        ("webhook", Wishes(storms=("herd",)), "'herd' does not befall webhook; storms there: duplicates"),
        ("polling", Wishes(storms=("retries",)), "'retries' does not befall polling; storms there: herd"),
        ("streaming", Wishes(storms=("herd",)), "storms there: none"),
        ("webhook", Wishes(storms=("retries", "retries:within=1")), "retries is given twice"),
        ("webhook", Wishes(rate_per_s=1.0, shape="soak:rate=1"), "--rate and --shape exclude each other"),
        ("webhook", Wishes(source="gitlab"), "--source 'gitlab': no provider signs so"),
        ("polling", Wishes(source="stripe"), "polling has none"),
        ("webhook", Wishes(payload_cv=-1.0), "--payload-cv must be a number from 0 to 100"),
        ("webhook", Wishes(clients=3), "webhook has senders (--pool)"),
        ("streaming", Wishes(clients=0), "--clients must be from 1 to 100,000, got 0"),
        ("polling", Wishes(clients=3, rate_per_s=1.0), "give one of them"),
        ("adaptive_polling", Wishes(rate_per_s=5.0), "give --clients, not --rate or --shape"),
        ("polling", Wishes(storms=("herd",), shape="soak:rate=1"), "give one of them"),
        ("streaming", Wishes(clients=90_000, rate_per_s=1000.0), "events × clients asks for"),
    ],
)
def test_what_an_arm_cannot_be_wished_is_refused(arm, wishes, said):
    with pytest.raises(InputError) as refused:
        plan_of(arm, scenario_for(arm, scenario(), wishes), 1, wishes, "r")
    assert said in str(refused.value)


def plan(arm: str, wishes: Wishes, **changes: object) -> Plan:
    return plan_of(arm, scenario_for(arm, scenario(**changes), wishes), 1, wishes, "r")


@pytest.mark.parametrize("arm", [*SENDERS, *CROWDS, *LISTENERS])
def test_every_arm_has_a_plan_that_survives_its_folder(arm, tmp_path):
    made = plan(arm, Wishes(), **{"polling.interval_s": 0.5})
    made.write(tmp_path)
    read = Plan.read(tmp_path)
    assert read.offsets_us.size > 0
    assert all(np.array_equal(getattr(made, name), getattr(read, name)) for name in Plan.__dataclass_fields__)


def test_a_shape_is_of_events_for_senders_and_of_polls_for_crowds():
    wishes = Wishes(shape="constant:rate=50", duration_s=2.0)
    assert plan("webhook", wishes).offsets_us[:3].tolist() == [0, 20_000, 40_000]
    polls = plan("polling", wishes, **{"polling.interval_s": 1.0})
    assert polls.offsets_us[:3].tolist() == [0, 20_000, 40_000]
    # So many polls a second come from as many pollers; each finds what came since its own last poll, a second
    # before: about 20 events.
    assert 5 < polls.due[50:].mean() < 40
    assert plan("webhook", Wishes(shape="steps:rates=10/20,each=1,spacing=even")).offsets_us.size == 30


def test_a_herd_asks_at_once_and_others_do_not():
    crowd = {"polling.interval_s": 1.0}
    herd = plan("polling", Wishes(clients=30, storms=("herd",)), **crowd)
    assert np.unique(herd.offsets_us).tolist() == [0, 1_000_000, 2_000_000, 3_000_000]
    near = plan("conditional_polling", Wishes(clients=30, storms=("herd:within=0.1",)), **crowd)
    assert (near.offsets_us % 1_000_000 <= 100_000).all()
    assert np.unique(plan("polling", Wishes(clients=30), **crowd).offsets_us).size > 30


def test_polls_of_a_shape_find_every_event_once():
    events_s = np.sort(np.random.default_rng(3).uniform(0, 10, 200))
    polls = shaped_schedule(np.arange(0, 10_000_000, 50_000), 4, events_s, page_size=1000)
    last_s = [polls.offsets_us[polls.poller == poller][-1] / 1e6 for poller in range(4)]
    for poller, until_s in enumerate(last_s):
        assert polls.due[polls.poller == poller].sum() == (events_s <= until_s).sum()


def test_adaptive_pollers_come_more_often_while_there_is_something_to_find():
    busy = scenario(
        **{
            "adaptive_polling": {
                "kind": "aimd",
                "increase_s": 0.5,
                "min_interval_s": 0.1,
                "max_interval_s": 2.0,
            },
            "polling.interval_s": 1.0,
            "run.duration_s": 20.0,
        }
    )
    events_s = np.arange(0.0, 10.0, 0.05)  # then nothing
    polls = adaptive_schedule(busy, phases_s(busy, 1, 1), events_s, page_size=1000)
    times_s = polls.offsets_us / 1e6
    assert np.diff(times_s[(times_s > 3) & (times_s < 10)]).max() == pytest.approx(0.1, abs=1e-5)
    assert np.diff(times_s)[-1] == pytest.approx(2.0, abs=1e-5)
    assert polls.due.sum() == 200
