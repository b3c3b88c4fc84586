#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `make install` lays out: programs that find each other from where they are.

usage: test_install.py BUILD_DIR SOURCE_DIR
"""
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

BUILD, SOURCE = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
FILES = """sbin/codesandboxd sbin/codesandbox-image bin/csb libexec/codesandbox/csb-launch
libexec/codesandbox/csb-agent libexec/codesandbox/wait.so libexec/codesandbox/zygote.so
libexec/codesandbox/image/build.sh libexec/codesandbox/image/initrd.sh
share/codesandbox/runtimes/python.runtime share/codesandbox/runtimes/python/sitecustomize.py
lib/systemd/system/codesandbox.service lib/sysusers.d/codesandbox.conf
lib/tmpfiles.d/codesandbox.conf share/doc/codesandbox/INSTALL.md""".split()


def install(destination, prefix):
    subprocess.run([SOURCE / "packaging/install.sh", BUILD, destination, prefix], check=True)
    return pathlib.Path(destination + prefix)


def installed(t, directory):
    root = install(directory, "/opt/csb")
    missing = [name for name in FILES if not (root / name).is_file()]
    t.check(not missing, "all files are there", missing)
    found = subprocess.run([root / "sbin/codesandboxd", "--check-config"], capture_output=True,
                           text=True, env={}, check=True).stdout
    t.check(f"runtimes_dir = {root}/share/codesandbox/runtimes\n" in found and
            "rootfs_path = /var/lib/codesandbox/image/rootfs.erofs\n" in found and
            "state_dir = /var/lib/codesandbox/state\n" in found, "defaults are of an installed program",
            found)
    built = subprocess.run([BUILD / "src/daemon/codesandboxd", "--check-config"],
                           capture_output=True, text=True, env={}, check=True).stdout
    t.check("runtimes_dir = runtimes\n" in built, "those of a built one are the source tree's", built)
    unit = (root / "lib/systemd/system/codesandbox.service").read_text()
    t.check("ExecStart=/opt/csb/sbin/codesandboxd\n" in unit and "@SBIN@" not in unit,
            "the unit starts the program of the prefix", unit)
    t.check(not list(root.rglob("__pycache__")), "no caches are installed")


def service(t, directory):
    """The installed daemon starts its installed launcher."""
    root = pathlib.Path(directory + "/opt/csb")
    tree = pathlib.Path(directory) / "tree"
    tree.mkdir()
    done = subprocess.run(
        [root / "sbin/codesandboxd"], capture_output=True, text=True, timeout=120,
        env={"ISOLATION": "process", "API_PORT": "0", "STATE_DIR": directory + "/state",
             "ROOTFS_TREE": directory + "/none"})
    t.check(done.returncode == 1 and "ROOTFS_TREE" in done.stderr and
            "cannot start" not in done.stderr, "it finds its parts, and says what is missing",
            done.stderr)


def tree(top):
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def again_and_away(t, directory):
    """Laid out over itself, and taken away: what is somebody else's stays."""
    top = pathlib.Path(directory) / "a directory"
    others = [top / "usr/lib/systemd/system/other.service", top / "usr/share/codesandbox/runtimes/own.runtime"]
    for path in others:
        path.parent.mkdir(parents=True)
        path.write_text("theirs")
    before = tree(top)
    install(str(top), "/usr")
    once = tree(top)
    install(str(top), "/usr/")
    t.check(tree(top) == once and len(once) > len(before) + len(FILES), "laid out again it is the same")
    unit = (top / "usr/lib/systemd/system/codesandbox.service").read_text()
    t.check("ExecStart=/usr/sbin/codesandboxd\n" in unit, "also with a slash at the prefix's end", unit)
    subprocess.run([SOURCE / "packaging/install.sh", "--remove", BUILD, str(top), "/usr"], check=True)
    files = [name for name in tree(top) if (top / name).is_file()]
    t.check(files == sorted(str(path.relative_to(top)) for path in others), "taken away, only others' files are left", files)
    t.check(not [name for name in tree(top) if name.startswith(("usr/libexec/codesandbox", "usr/share/doc/codesandbox"))],
            "and no directory of its own")


def refused(t, directory):
    for prefix in ("relative", "/", "/with space", "/a,b&c", "/$HOME", "/%n"):
        done = subprocess.run([SOURCE / "packaging/install.sh", BUILD, directory, prefix], capture_output=True, text=True,
                              check=False)
        t.check(done.returncode == 1 and "PREFIX" in done.stderr and not tree(pathlib.Path(directory)),
                f"the prefix '{prefix}' is refused before anything is done", done)


def main():
    t = Tap()
    with tempfile.TemporaryDirectory(prefix="csb-test-") as directory:
        for part in (installed, service):
            t.group(part, directory)
    for part in (again_and_away, refused):
        with tempfile.TemporaryDirectory(prefix="csb-test-") as directory:
            t.group(part, directory)
    t.finish()


main()
