# SPDX-License-Identifier: Apache-2.0
"""The image that programs run in, from $CSB_IMAGE_DIR, as the test machine gets it."""
import os
import pathlib

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
