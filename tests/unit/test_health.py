"""When a process lives, when it is ready, and what is answered over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import RemoteDisconnected

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from indexer.errors import UserError
from indexer.health import DEAD_SECONDS, SLOW_SECONDS, STUCK_SECONDS, Signs, judge, of_loop
from indexer.health_server import HealthServer
from indexer.pipeline import Progress

WELL = Signs(turned=0.1)
NOW = 1000.0


def at_work() -> Progress:
    return Progress(last_turn=NOW, last_moved=NOW, member=True)


@pytest.mark.parametrize(
    ("signs", "problem"),
    [
        (replace(WELL, away=("RPC_OUTAGE",)), "RPC_OUTAGE"),
        (replace(WELL, stopped=("BUDGET_SPENT",)), "BUDGET_SPENT"),
        (replace(WELL, member=False), "NOT_A_MEMBER"),
        (replace(WELL, still=STUCK_SECONDS + 1), "NOTHING_MOVES"),
        (replace(WELL, turned=SLOW_SECONDS + 1), "LOOP_STANDS"),
    ],
)
def test_what_keeps_a_process_from_its_work_makes_it_unready_and_not_dead(signs: Signs, problem: str) -> None:
    health = judge(signs)

    assert health.problems == (problem,)
    assert health.alive
    assert health.hints()[problem].endswith(".")


def test_a_process_whose_loop_turns_is_ready() -> None:
    assert judge(WELL).problems == ()


def test_a_loop_that_stands_is_dead_in_the_end() -> None:
    assert judge(replace(WELL, turned=DEAD_SECONDS)).alive
    assert not judge(replace(WELL, turned=DEAD_SECONDS + 1)).alive


def test_an_outage_is_no_death_however_long_it_lasts() -> None:
    assert judge(Signs(turned=0.5, still=10_000.0, away=("DATABASE_DOWN",))).alive


def test_a_member_that_has_nothing_in_hand_is_ready() -> None:
    assert judge(of_loop(at_work(), NOW + 1)) == judge(WELL)


def test_every_outage_that_anybody_sees_is_told_once() -> None:
    progress = at_work()
    progress.outage = "KAFKA_DOWN"

    signs = of_loop(progress, NOW, ("RPC_OUTAGE", None, "KAFKA_DOWN"))

    assert signs.away == ("KAFKA_DOWN", "RPC_OUTAGE")


def test_a_service_that_may_take_nothing_is_stopped_unless_it_could_not_ask() -> None:
    progress = at_work()
    progress.held = True

    assert of_loop(progress, NOW).stopped == ("BUDGET_SPENT",)
    assert of_loop(progress, NOW, ("KAFKA_DOWN",)).stopped == ()


def test_time_is_counted_from_the_last_turn_and_the_last_thing_done() -> None:
    progress = replace(at_work(), last_turn=NOW - 40, last_moved=NOW - 70)

    assert judge(of_loop(progress, NOW)).problems == ("LOOP_STANDS", "NOTHING_MOVES")


# over HTTP


class OneFigure(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("indexer_test_figure", "a figure", value=7)


class Served:
    """A server whose signs the test sets."""

    def __init__(self) -> None:
        self.signs = WELL
        self._server = HealthServer(0, OneFigure(), lambda: self.signs)
        self.port = self._server.server_address[1]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.close()


def test_a_ready_process_answers_200(served: Served) -> None:
    assert served.get("/readyz") == (200, '{"ok":true,"problems":{}}')
    assert served.get("/healthz?verbose")[0] == 200


def test_an_outage_makes_it_unready_and_says_why(served: Served) -> None:
    served.signs = replace(WELL, away=("RPC_OUTAGE",))

    status, body = served.get("/readyz")

    assert status == 503
    assert "No endpoint answers." in json.loads(body)["problems"]["RPC_OUTAGE"]
    assert served.get("/healthz")[0] == 200


def test_a_dead_loop_answers_503_to_both(served: Served) -> None:
    served.signs = replace(WELL, turned=DEAD_SECONDS + 1)

    assert [served.get(path)[0] for path in ("/healthz", "/readyz")] == [503, 503]


def test_metrics_are_those_of_the_collector_and_of_the_process(served: Served) -> None:
    status, text = served.get("/metrics")

    assert status == 200
    assert "indexer_test_figure 7.0" in text
    assert "process_resident_memory_bytes" in text


def test_another_path_is_told_which_there_are(served: Served) -> None:
    status, body = served.get("/")

    assert status == 404
    assert json.loads(body) == {"paths": ["/healthz", "/readyz", "/metrics"]}


class FailingFigure(Collector):
    """A collector that fails, once it was registered."""

    error: Exception | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self.error is not None:
            raise self.error
        return iter(())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BrokenPipeError(32, "Broken pipe"), []),
        (ConnectionResetError(104, "Connection reset by peer"), []),
        (ValueError("no figure"), ["a request was not answered: ValueError: no figure"]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_request_that_fails_is_a_line_of_the_log_unless_the_client_hung_up(
    error: Exception, told: list[str], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = FailingFigure()
    server = HealthServer(0, figure, lambda: WELL)
    figure.error = error

    with pytest.raises(RemoteDisconnected):
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}/metrics", timeout=10)
    server.shutdown()
    server.server_close()

    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == told
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_a_users_mistake(served: Served) -> None:

    with pytest.raises(UserError, match=f"METRICS_PORT={served.port}"):
        HealthServer(served.port, OneFigure(), lambda: WELL)
