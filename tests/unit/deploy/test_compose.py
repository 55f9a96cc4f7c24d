"""docker-compose.yml says nothing that the code does not know; no engine is needed to tell."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from indexer.settings import Settings, read
from tools import commands

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ONCE = {"migrate", "topics", "cli"}  # they end
DEFAULTS = re.compile(r"\$\{\w+:-([^}]*)\}")

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
our_services = pytest.mark.parametrize("service", OURS.values(), ids=OURS)


def environment(service: dict[str, Any]) -> dict[str, str]:
    """What the process gets when nobody sets anything."""
    return {name: DEFAULTS.sub(r"\1", str(value)) for name, value in service["environment"].items()}


@our_services
def test_every_variable_is_a_setting_with_a_value_that_fits(service: dict[str, Any], tmp_path: Path) -> None:
    given = {name: value for name, value in environment(service).items() if name != "TMPDIR"}  # Python's own

    assert set(given) <= {each.name.upper() for each in fields(Settings)}
    read(given, tmp_path / ".env")  # raises for a value that does not fit


@our_services
def test_every_command_exists(service: dict[str, Any]) -> None:
    program, *arguments = service["command"]

    if program == "python":
        assert arguments[0] == "-m"
        assert callable(importlib.import_module(arguments[1]).main)
    else:
        assert program in commands.PROGRAMS
        assert commands.problems(" ".join(service["command"])) == []


@every_service
def test_what_a_service_waits_for_can_come_true(service: dict[str, Any]) -> None:
    for name, wait in service.get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[name]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert name in ONCE
            assert SERVICES[name]["restart"].startswith("on-failure")


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_what_runs_on_is_restarted_and_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert "healthcheck" in SERVICES[name]


@every_service
def test_images_are_named_with_a_version(service: dict[str, Any]) -> None:
    image = DEFAULTS.sub(r"\1", service["image"])

    assert re.fullmatch(r"[\w./-]+:(\d+\.\d+(\.\d+)?(-\w+)?|local)", image)


@every_service
def test_no_service_is_privileged_or_root(service: dict[str, Any]) -> None:
    assert not {"privileged", "pid", "network_mode", "cap_add", "devices"} & set(service)
    assert service["user"] not in ("root", "0", "0:0")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


@our_services
def test_our_services_write_nowhere_but_to_volumes(service: dict[str, Any]) -> None:
    assert service["read_only"] is True


@every_service
def test_ports_are_open_to_this_machine_only(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@every_service
def test_volumes_are_declared_and_folders_of_the_machine_only_read(service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        assert (volume.startswith("${MODEL_FILES:-./") and volume.endswith(":ro")) or volume.split(":")[0] in COMPOSE[
            "volumes"
        ]


def test_no_two_decoders_share_a_slot() -> None:
    decoders = [service for service in OURS.values() if "services.decoder.main" in service["command"]]
    slots = [environment(decoder)["SLOT"] for decoder in decoders]

    assert len(decoders) == 2
    assert len(set(slots)) == len(slots)


@pytest.mark.parametrize("name", ["decoder-0", "decoder-1", "persister"])
def test_what_a_process_says_before_it_dies_outlives_its_container(name: str) -> None:
    assert f"life:{environment(OURS[name])['TMPDIR']}" in OURS[name]["volumes"]


def test_compose_itself_accepts_the_file() -> None:
    compose = [shutil.which("docker") or "docker", "compose"]
    try:
        subprocess.run([*compose, "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("docker compose is not installed")

    subprocess.run([*compose, "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"], check=True)
