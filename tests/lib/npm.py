# SPDX-License-Identifier: Apache-2.0
"""Packages of npm's for a test, pinned by the lock file beside it."""
import pathlib
import shutil
import subprocess


class Unusable(Exception):
    """They cannot be had here; the text says why."""


def install(definition, packages):
    """Puts what `definition`/package-lock.json says into `packages`, unless it is there. npm's own
    lock file says which bytes; no script of a package is run."""
    lock = pathlib.Path(definition, "package-lock.json")
    if (packages / "node_modules/.package-lock.json").exists() and \
            (packages / lock.name).read_bytes() == lock.read_bytes():
        return
    if not shutil.which("node") or not shutil.which("npm"):
        raise Unusable("node and npm are not installed")
    packages.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", lock.name):
        shutil.copy(lock.with_name(name), packages / name)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=packages,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
    if done.returncode != 0:
        raise Unusable(f"npm cannot fetch the packages of {lock.parent.name}: " +
                       " ".join(done.stderr.split())[-200:])
