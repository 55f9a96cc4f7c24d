"""The native module is built as pinned, or it is said why not; nothing fails without Rust."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools import native


def a_cargo(folder: Path, script: str) -> Path:
    folder.mkdir(parents=True)
    cargo = folder / "cargo"
    cargo.write_text(f"#!/bin/sh\n{script}\n")
    cargo.chmod(0o755)
    return folder


def test_without_rust_the_build_says_what_is_lost_and_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert native.main([]) == 0
    told = capsys.readouterr()
    assert "there is no Rust here" in told.err
    assert "plain Python" in told.out


def test_what_is_built_for_another_place_must_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert native.main(["build", str(tmp_path)]) == 1


def test_a_toolchain_is_found_beside_cargo_when_home_is_elsewhere(tmp_path: Path) -> None:
    folder = a_cargo(tmp_path / ".cargo" / "bin", f'test "$RUSTUP_HOME" = "{tmp_path}/.rustup"')

    assert native.rust({"PATH": str(folder)})["RUSTUP_HOME"] == f"{tmp_path}/.rustup"


def test_a_cargo_without_a_toolchain_is_no_rust(tmp_path: Path) -> None:
    folder = a_cargo(tmp_path / ".cargo" / "bin", "exit 1")

    with pytest.raises(native.NativeError, match="no toolchain"):
        native.rust({"PATH": str(folder)})


def test_crates_that_are_not_those_of_the_lock_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(native.NATIVE, tmp_path / "native", ignore=shutil.ignore_patterns("target"))
    name, (version, sha) = next(iter(native.read_pins(native.PINS.read_text()).items()))
    (tmp_path / "native" / "Cargo.lock").write_text(
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nchecksum = "{sha[::-1]}"\n'
    )
    monkeypatch.setattr(native, "NATIVE", tmp_path / "native")
    resolves_the_same_again = a_cargo(tmp_path / "bin", "exit 0")

    with pytest.raises(native.NativeError, match=r"not those of native/crates\.lock"):
        native.pin({"PATH": str(resolves_the_same_again)})
    assert not (tmp_path / "native" / "Cargo.lock").exists()


def test_words_that_are_no_command_are_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert native.main(["wheel"]) == 2
    assert "build [DIR]|lock" in capsys.readouterr().err
