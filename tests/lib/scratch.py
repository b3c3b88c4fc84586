# SPDX-License-Identifier: Apache-2.0
"""Directories and control groups of tests, that no killed test leaves behind for ever.

A scratch directory is locked by its owner for as long as that lives. Whoever makes the next one
removes those whose owner is gone.
"""
import atexit
import fcntl
import os
import pathlib
import shutil
import tempfile

PREFIX = "csb-scratch-"
CGROUP_PREFIX = "csb-test-"


def _lock(path):
    """A descriptor that holds the directory's lock, or None while another process has it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except OSError:
        os.close(fd)
        return None


def _sweep(parent):
    for path in pathlib.Path(parent).glob(PREFIX + "*"):
        fd = _lock(path)
        if fd is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


class Scratch:
    """A directory of one's own below `parent`, by default $TMPDIR; a context manager giving its path."""

    def __init__(self, name, parent=None):
        parent = parent or tempfile.gettempdir()
        _sweep(parent)
        self._fd = None
        while self._fd is None:  # a sweep may have taken it before it was locked
            self.path = pathlib.Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-", dir=parent))
            self._fd = _lock(self.path)
            if self._fd is not None and not self.path.exists():
                os.close(self._fd)
                self._fd = None

    def close(self):
        if self._fd is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._fd)
            self._fd = None

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        self.close()


def _remove_groups(base):
    """Removes a control group and those below it, as far as nobody is in them."""
    for directory, _, _ in os.walk(base, topdown=False):
        try:
            os.rmdir(directory)
        except OSError:
            pass


def _groups(name):
    """The group of that name in each hierarchy: version 2 has one, version 1 one per controller."""
    root = pathlib.Path("/sys/fs/cgroup")
    return [*root.glob(name), *root.glob("*/" + name)]


def cgroup_name():
    """A name for this process's control groups, removed at its end. Those of dead ones go at once."""
    for path in _groups(CGROUP_PREFIX + "*"):
        owner = path.name[len(CGROUP_PREFIX):]
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            _remove_groups(path)
    name = f"{CGROUP_PREFIX}{os.getpid()}"
    atexit.register(lambda: [_remove_groups(path) for path in _groups(name)])
    return name
