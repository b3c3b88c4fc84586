# SPDX-License-Identifier: Apache-2.0
"""The image that programs run in, from $CSB_IMAGE_DIR, and its languages, as the test machine gets them."""
import os
import pathlib
import shutil

from machine import Disk, make_disk

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
IMAGE = pathlib.Path(os.environ.get("CSB_IMAGE_DIR") or ROOT / "build" / "image")
IMAGE_FILES = ("rootfs.erofs", "vmlinuz", "initrd.img")


def present(name):
    if not (IMAGE / name).exists():
        raise SystemExit(f"Bail out! {IMAGE / name} is missing: run make image")
    return (IMAGE / name).resolve()


def tree_disk(name):
    """The root tree, a file system that the machine can mount."""
    return Disk(name, str(present("rootfs.erofs")))


def image_disk(directory):
    """The image's files as one disk, so that the machine sees them as files of a file system."""
    tree = pathlib.Path(directory) / "image"
    tree.mkdir()
    for name in IMAGE_FILES:
        (tree / name).symlink_to(present(name))
    make_disk(f"{directory}/image.erofs", tree)
    return Disk("image", f"{directory}/image.erofs")


def quick_runtimes(directory):
    """The table without warming up and without a prepared compiler, which take long here, and with
    one sandbox kept ready for Python and for TypeScript."""
    table = pathlib.Path(directory) / "runtimes"
    shutil.copytree(ROOT / "runtimes", table)
    (table / "javascript.runtime").unlink()
    for path in table.glob("*.runtime"):
        dropped = ("pool_ready", "warm") + (("prepare",) if path.stem == "rust" else ())
        lines = [line for line in path.read_text().splitlines() if not line.startswith(dropped)]
        ready = 1 if path.stem in ("python", "typescript") else 0
        path.write_text("\n".join([*lines, f"pool_ready = {ready}"]) + "\n")
    return table
