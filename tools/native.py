"""Builds the native module for this Python, into its site-packages or DIR: `python -m tools.native [build [DIR]|lock]`.

Nothing needs it: without Rust, or without a way to get its crates, decoder and persister run the Python code that the
module speeds up, and `build` says so; with a DIR that is a failure. `native/crates.lock` pins every crate by version
and SHA-256 (Cargo.lock is made from it on the spot: it would name a registry in every line).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NATIVE = ROOT / "native"
PINS = NATIVE / "crates.lock"
_QUIETLY = ("--quiet", "--manifest-path", str(NATIVE / "Cargo.toml"))

Pins = dict[str, tuple[str, str]]  # crate -> version, SHA-256


class NativeError(Exception):
    """The module cannot be built here; the message says why, in a line."""


def main(arguments: Sequence[str]) -> int:
    command, operands = (arguments[0], arguments[1:]) if arguments else ("build", [])
    if command not in ("build", "lock") or len(operands) > (command == "build"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        environ = rust(os.environ)
        if command == "lock":
            lock(environ)
        else:
            pin(environ)
            build(environ, Path(operands[0] if operands else sysconfig.get_path("platlib")))
    except NativeError as error:
        print(f"native: not built: {error}", file=sys.stderr)
        if command == "lock" or operands:
            return 1
        print("native: decoder and persister run in plain Python, at about half the speed; later: make native")
    return 0


def rust(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which cargo works. Raises NativeError."""
    cargo = shutil.which("cargo", path=environ.get("PATH"))
    if cargo is None:
        raise NativeError("there is no Rust here (cargo)")
    beside = Path(cargo).parents[2] / ".rustup"  # where HOME is not the one that rustup was installed in
    for extra in ({}, {"RUSTUP_HOME": str(beside)}):
        tried = {**environ, **extra}
        if subprocess.run([cargo, "--version"], env=tried, capture_output=True, check=False).returncode == 0:
            return tried
    raise NativeError("cargo is here, but no toolchain is")


def lock(environ: Mapping[str, str]) -> None:
    """Pin the newest crates that Cargo.toml allows. Raises NativeError."""
    _cargo(environ, "update")
    PINS.write_text("".join(f"{name} {version} {sha}\n" for name, (version, sha) in resolved().items()))


def pin(environ: Mapping[str, str]) -> None:
    """Make a Cargo.lock that says what `crates.lock` says. Raises NativeError."""
    pinned = read_pins(PINS.read_text())
    if (NATIVE / "Cargo.lock").exists() and resolved() == pinned:
        return
    _cargo(environ, "generate-lockfile")
    for name, (version, _) in resolved().items():
        if name in pinned and pinned[name][0] != version:
            _cargo(environ, "update", "--package", name, "--precise", pinned[name][0])
    if resolved() != pinned:
        (NATIVE / "Cargo.lock").unlink()
        raise NativeError("the crates are not those of native/crates.lock")


def build(environ: Mapping[str, str], folder: Path) -> None:
    """Compile, and put the module into `folder`. Raises NativeError."""
    flags = environ.get("RUSTFLAGS", "")
    if sys.platform == "darwin":  # its linker wants to know every symbol, Python's come when the module is loaded
        flags += " -C link-arg=-undefined -C link-arg=dynamic_lookup"
    _cargo({**environ, "RUSTFLAGS": flags, "PYO3_PYTHON": sys.executable}, "build", "--release", "--locked")
    library = "libindexer_native" + (".dylib" if sys.platform == "darwin" else ".so")
    module = folder / f"indexer_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    new = module.with_suffix(".new")  # a module that is in use is replaced, not written over
    shutil.copyfile(NATIVE / "target" / "release" / library, new)
    new.replace(module)


def read_pins(text: str) -> Pins:
    """Read `crates.lock`."""
    rows = (line.split() for line in text.splitlines())
    return {name: (version, sha) for name, version, sha in rows}


def resolved() -> Pins:
    """Return what Cargo.lock says."""
    packages = tomllib.loads((NATIVE / "Cargo.lock").read_text())["package"]
    return {each["name"]: (each["version"], each["checksum"]) for each in packages if "checksum" in each}


def _cargo(environ: Mapping[str, str], *arguments: str) -> None:
    _run(["cargo", *arguments, *_QUIETLY], environ)


def _run(command: Sequence[str], environ: Mapping[str, str]) -> None:
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = [line for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
        told = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it does not say why")
        raise NativeError(f"{command[0]}: {told.strip()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
