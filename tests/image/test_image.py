#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The built image: what is in its directory, its cache key, and how its initramfs is packed.

The image itself is taken from $CSB_IMAGE_DIR, default build/image; it is not built here.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
from tap import Tap  # noqa: E402

IMAGE = os.environ.get("CSB_IMAGE_DIR", os.path.join(ROOT, "build", "image"))
EROFS_MAGIC = bytes.fromhex("e2e1f5e0")
NEEDED_FIRST = [("virtio_ring.ko", "virtio.ko"), ("virtio.ko", "virtio_mmio.ko"),
                ("virtio_ring.ko", "virtio_blk.ko"), ("virtio_ring.ko", "virtio_console.ko"),
                ("libcrc32c.ko", "erofs.ko")]


def read(*path, mode="r"):
    with open(os.path.join(*path), mode) as file:
        return file.read()


def run(*argv, **env):
    return subprocess.run(argv, capture_output=True, text=True, timeout=200,
                          env={**os.environ, **env})


def files(tap):
    with open(os.path.join(IMAGE, "rootfs.erofs"), "rb") as image:
        image.seek(1024)
        tap.check(image.read(4) == EROFS_MAGIC, "rootfs.erofs is an erofs file system")
    kernel = read(IMAGE, "vmlinuz", mode="rb")
    tap.check(kernel[0x202:0x206] == b"HdrS", "vmlinuz is a Linux boot image")
    version = read(IMAGE, "kernel.version").strip()
    tap.check(version.encode() in kernel, f"vmlinuz is the kernel {version}")
    packages = dict(line.split("\t")[:2] for line in read(IMAGE, "packages.txt").splitlines())
    missing = [name for name in ("python3", "rustc-web", "mold", "bash", "git", "curl", "sudo",
                                 "deno") if name not in packages]
    tap.check(not missing, "packages.txt names what the runtimes need", missing)


def modules(tap):
    order = read(IMAGE, "modules", "order").split()
    absent = [name for name in order if not read(IMAGE, "modules", name, mode="rb")[:4] == b"\x7fELF"]
    tap.check(order and not absent, "each module in the order file is an ELF file", absent)
    wrong = [pair for pair in NEEDED_FIRST if order.index(pair[0]) >= order.index(pair[1])]
    tap.check(not wrong, "modules come after what they need", wrong)
    tap.check("overlay.ko" in order, "overlay is among the modules")
    tap.check(len(set(order)) == len(order), "no module is named twice", order)


def directory(tap):
    tree = os.path.join(IMAGE, "rootfs")
    tap.check(read(tree, ".csb-tree-key") == read(IMAGE, "image.key"),
              "the directory is of the same build as the image")
    places = ["work", "csb", "proc", "dev", "run", "tmp", "var/tmp", "home/user", "sys/fs/cgroup",
              "sys/fs/cgroup/memory", "sys/fs/cgroup/pids"]
    absent = [place for place in places if not os.path.isdir(os.path.join(tree, place))]
    tap.check(not absent, "and has the places that jails mount over", absent)
    closed = [path for path in ("", "usr", "usr/bin", "usr/lib/csb")
              if os.stat(os.path.join(tree, path)).st_mode & 0o005 != 0o005]
    tap.check(not closed, "and may be read by every user", closed)


def cache(tap):
    script = os.path.join(ROOT, "image", "build.sh")
    result = run(script, "--check", IMAGE)
    if tap.check(result.returncode == 0 and "up to date" in result.stdout,
                 "the image is current", result.stdout + result.stderr):
        before = os.stat(os.path.join(IMAGE, "rootfs.erofs"))
        run(script, IMAGE)
        after = os.stat(os.path.join(IMAGE, "rootfs.erofs"))
        tap.check((before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns),
                  "a second build leaves the image alone")
    result = run(script, "--check", IMAGE, SOURCE_DATE_EPOCH="1")
    tap.check(result.returncode == 1, "another time stamp is another key", result.stdout)


def sources(tap):
    script = os.path.join(ROOT, "image", "sources.sh")
    lines = run(script).stdout.splitlines()
    suites = [line.split()[2] for line in lines]
    tap.check("bookworm" in suites and len(lines) == len(set(lines)),
              "the sources name the suite, no line twice", lines)
    tap.check(all(re.fullmatch(r"deb \S+ bookworm\S* main", line) for line in lines),
              "the sources are Debian's main section alone", lines)
    with tempfile.NamedTemporaryFile("w", suffix=".list") as own:
        own.write("deb http://mirror.example/debian bookworm main\n")
        own.flush()
        tap.check(run(script, CSB_APT_SOURCES=own.name).stdout == read(own.name),
                  "CSB_APT_SOURCES replaces them")


def pack(directory, agent, runtimes):
    """An initramfs of a small agent and runtimes table; returns (result, path)."""
    out = os.path.join(directory, "out")
    if not os.path.isdir(out):
        os.mkdir(out)
        shutil.copytree(os.path.join(IMAGE, "modules"), os.path.join(out, "modules"))
    result = run(os.path.join(ROOT, "image", "initrd.sh"), agent, out, RUNTIMES_DIR=runtimes)
    return result, os.path.join(out, "initrd.img")


def initrd(tap):
    with tempfile.TemporaryDirectory() as directory:
        agent = os.path.join(directory, "agent")
        with open(agent, "wb") as file:
            file.write(b"\x7fELF static")
        os.chmod(agent, 0o700)
        with open(os.path.join(directory, "wait.so"), "wb") as file:
            file.write(b"\x7fELF shared")
        shim = os.path.join(directory, "runtimes", "python", "__pycache__")
        os.makedirs(shim)
        with open(os.path.join(shim, "stale.pyc"), "w") as file:
            file.write("stale")
        with open(os.path.join(directory, "runtimes", "python", "zygote.py"), "w") as file:
            file.write("pass\n")
        with open(os.path.join(directory, "runtimes", "python.json"), "w") as file:
            file.write("{}\n")
        runtimes = os.path.join(directory, "runtimes")

        result, path = pack(directory, agent, runtimes)
        tap.check(result.returncode == 0, "the initramfs is packed", result.stderr)
        first = read(path, mode="rb")
        with open(path, "rb") as archive:
            listing = subprocess.run(["cpio", "-itv", "--quiet"], stdin=archive,
                                     capture_output=True, text=True, check=True).stdout
        entries = {line.split()[-1]: line.split() for line in listing.splitlines()}
        tap.check(entries.get("init", [""])[0] == "-rwxr-xr-x", "/init may be executed", listing)
        tap.check(all(entry[2:4] == ["root", "root"] for entry in entries.values()),
                  "all of it belongs to root", listing)
        order = read(IMAGE, "modules", "order").split()
        tap.check("modules/order" in entries and all(f"modules/{name}" in entries for name in order),
                  "the modules and their order are in it", listing)
        tap.check("csb/wait.so" in entries, "wait.so is in /csb", listing)
        tap.check("csb/python/zygote.py" in entries, "the runtimes' directories are in /csb", listing)
        tap.check(not [name for name in entries if "pycache" in name or name.endswith(".json")],
                  "neither tables nor stale byte code are in it", listing)

        os.utime(agent)
        pack(directory, agent, runtimes)
        tap.check(read(path, mode="rb") == first, "the same agent gives the same bytes")

        with open(agent, "ab") as file:
            file.write(b"/lib64/ld-linux-x86-64.so.2")
        result, _ = pack(directory, agent, runtimes)
        tap.check(result.returncode != 0 and "not static" in result.stderr,
                  "an agent that is not static is refused", result.stderr)
        tap.check(read(path, mode="rb") == first, "a refusal leaves the former initramfs alone")
        tap.check(sorted(os.listdir(os.path.dirname(path))) == ["initrd.img", "modules"],
                  "nothing else is left behind", os.listdir(os.path.dirname(path)))


def main():
    tap = Tap()
    for group in (files, modules, directory, cache, sources, initrd):
        tap.group(group)
    tap.finish()


main()
