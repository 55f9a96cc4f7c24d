"""Children that fall are started again, and all are stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.errors import FatalError, UserError
from indexer.local.supervisor import Child, Supervisor, last_line
from tests.support.waiting import wait_for

WAIT = "print('up', flush=True)\ntime.sleep(60)"
SERVICES = {
    "sleeper": f"import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\n{WAIT}",
    "deaf": f"import signal, time\nsignal.signal(15, signal.SIG_IGN)\n{WAIT}",
    "teller": f"import os, time\nprint(os.environ['METRICS_PORT'])\n{WAIT}",
    "refuser": "import sys\nprint('refuser: RPC_URLS not set', file=sys.stderr)\nsys.exit(2)",
    "faller": "import sys\nprint('faller: out of luck', file=sys.stderr)\nsys.exit(1)",
}
CHILD = """
import time
from indexer.service import end_with_parent
end_with_parent()
print("up", flush=True)
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys
environ = {{**os.environ, "END_WITH_PARENT": str(os.getpid())}}
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], env=environ, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    for name, code in SERVICES.items():
        (tmp_path / "fake" / name).mkdir(parents=True)
        (tmp_path / "fake" / name / "main.py").write_text(code)
    made = Supervisor(tmp_path / "logs", {**os.environ, "PYTHONPATH": str(tmp_path)}, module="fake.{}.main")
    yield made
    made.stop()


def up(child: Child) -> bool:
    return "up" in (child.log.read_text() if child.log.exists() else "")


def test_each_child_has_a_port_of_its_own_for_its_metrics(supervisor: Supervisor) -> None:
    supervisor.metrics_port = 9400

    supervisor.start({"teller": 2})

    for child, port in zip(supervisor.children, ("9400", "9401"), strict=True):
        wait_for(lambda: port in child.log.read_text().split())  # noqa: B023
        assert str(child.metrics_port) == port


def test_a_new_child_takes_the_port_of_one_that_left_and_never_a_living_ones(supervisor: Supervisor) -> None:
    supervisor.metrics_port = 9400
    supervisor.start({"sleeper": 3})

    supervisor.remove(supervisor.children[0])
    added = [supervisor.add("sleeper", slot).metrics_port for slot in (0, 3)]

    assert added == [9400, 9403]


def test_each_child_has_a_slot_and_a_log(supervisor: Supervisor) -> None:
    supervisor.start({"sleeper": 2})

    assert [child.name for child in supervisor.children] == ["sleeper-0", "sleeper-1"]
    wait_for(lambda: all(up(child) for child in supervisor.children))


def test_a_nice_child_makes_way_for_its_siblings_of_the_same_session(supervisor: Supervisor) -> None:
    supervisor.niceness = {"deaf": 3}
    supervisor.start({"sleeper": 1, "deaf": 1})
    wait_for(lambda: all(up(child) for child in supervisor.children))

    sleeper, deaf = (child.pid or 0 for child in supervisor.children)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in (sleeper, deaf)] == [ours, ours], "all start alike"

    def made_way() -> bool:
        supervisor.check()
        return os.getpriority(os.PRIO_PROCESS, deaf) == min(ours + 3, 19)

    wait_for(made_way)
    assert os.getpriority(os.PRIO_PROCESS, sleeper) == ours
    assert os.getsid(sleeper) == os.getsid(deaf) == os.getsid(0)
    assert len({os.getpgid(0), os.getpgid(sleeper), os.getpgid(deaf)}) == 3, "Ctrl-C is not for them"
    os.kill(deaf, signal.SIGKILL)


def test_a_child_that_was_killed_is_started_again(supervisor: Supervisor) -> None:
    child = supervisor.add("sleeper", 0)
    wait_for(lambda: up(child))
    first = child.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)

    def again() -> bool:
        supervisor.check()
        return child.pid not in (None, first)

    wait_for(again)
    assert child.restarts == 1


def test_a_users_mistake_is_passed_on_in_the_services_words(supervisor: Supervisor) -> None:
    child = supervisor.add("refuser", 0)
    assert child.process is not None
    child.process.wait(20)

    with pytest.raises(UserError, match="refuser: RPC_URLS not set"):
        supervisor.check()


def test_a_child_that_falls_again_and_again_ends_the_run(supervisor: Supervisor) -> None:
    supervisor.add("faller", 0)

    def falls() -> bool:
        try:
            supervisor.check()
        except FatalError as error:
            return "faller-0 keeps falling: faller: out of luck" in str(error)
        return False

    wait_for(falls, seconds=60)


def test_stopping_ends_every_child_even_a_deaf_one(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.local.supervisor._GRACE_SECONDS", 0.5)
    supervisor.start({"sleeper": 1, "deaf": 1})
    wait_for(lambda: all(up(child) for child in supervisor.children))
    processes = [child.process for child in supervisor.children if child.process is not None]

    supervisor.stop()

    assert [process.poll() for process in processes] == [0, -signal.SIGKILL]


def test_who_is_dismissed_ends_while_the_others_go_on(supervisor: Supervisor) -> None:
    supervisor.start({"sleeper": 2, "deaf": 1})
    wait_for(lambda: all(up(child) for child in supervisor.children))
    *sleepers, deaf = supervisor.children

    supervisor.dismiss("sleeper")

    wait_for(lambda: all(child.pid is None for child in sleepers))
    assert deaf.pid is not None
    os.kill(deaf.pid, signal.SIGKILL)


def test_removing_a_child_stops_only_that_one(supervisor: Supervisor) -> None:
    supervisor.start({"sleeper": 2})
    wait_for(lambda: all(up(child) for child in supervisor.children))
    gone = supervisor.children[1]

    supervisor.remove(gone)

    assert gone.pid is None
    assert [child.pid is not None for child in supervisor.children] == [True]


def test_children_end_with_a_supervisor_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())

    parent.kill()
    parent.wait()

    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_the_last_line_of_a_log_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nlast\n\n")

    assert last_line(log) == "last"
    assert last_line(tmp_path / "none") == ""
