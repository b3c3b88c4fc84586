# SPDX-License-Identifier: Apache-2.0
"""What a service leaves on the host, seen from outside: runs of programs, processes, control groups, mounts,
descriptors, directories, room on disk."""
import ctypes
import os
import pathlib
import struct
import sys
from collections import Counter

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "service"))
from service import CGROUP, IMAGE, all_cgroups, cgroup_dirs, processes  # noqa: E402

NOTES = "var/lib/dpkg/info"  # files that no program opens by itself, and every program may
IN_OPEN, IN_CLOSE_NOWRITE, IN_Q_OVERFLOW, IN_ISDIR = 0x20, 0x10, 0x4000, 0x40000000
STORE_GROWTH_MAX = 16 << 20  # of what is no queue
# Of the server and the launcher, beyond what they have at first: connections that are being closed, and each sandbox's.
FDS_MORE, FDS_PER_SANDBOX = 8, 6


class Notes:
    """Counts how often each program ran. A program opens a file of the root tree that is its own, which the
    kernel tells whoever watches the directory on the host, however little of the service lives to tell it.

    Two equal events in a row would be one: so closing is watched, too, and stands between two openings."""

    def __init__(self):
        directory = IMAGE / "rootfs" / NOTES
        self.names = sorted(entry.name for entry in os.scandir(directory)
                            if entry.is_file(follow_symlinks=False) and "'" not in entry.name)
        self._numbers = {name: n for n, name in enumerate(self.names)}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0 or self._libc.inotify_add_watch(self._fd, os.fsencode(directory), IN_OPEN | IN_CLOSE_NOWRITE) < 0:
            raise OSError(ctypes.get_errno(), f"cannot watch {directory}")
        self._ran = Counter()

    def program(self, number, seconds):
        """Bash that leaves the note of this number, as the first thing it does."""
        return f"exec 3<'/{NOTES}/{self.names[number]}'; exec 3<&-; sleep {seconds:.3f}; echo {number}\n"

    def ran(self):
        """{number: times it ran} by now."""
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return Counter(self._ran)
            at = 0
            while at < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16:at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                if mask & IN_Q_OVERFLOW:
                    raise RuntimeError("notes were lost")
                if mask & IN_OPEN and not mask & IN_ISDIR and name in self._numbers:
                    self._ran[self._numbers[name]] += 1


def uids(low, high):
    """{pid: name} of all processes of the host whose uid is in the range."""
    found = {}
    for pid, (_, _, name) in processes().items():
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            text = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        real = int(text.split("\nUid:\t", 1)[1].split("\t", 1)[0])
        if low <= uid < high or low <= real < high:
            found[pid] = name
    return found


def mounts(pid, *parts):
    """How many mounts of the process's namespace have one of these texts in their line."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return 0
    return sum(1 for line in lines if not parts or any(part in line for part in parts))


def descriptors(pid):
    """(all, those of files that were removed) of a process."""
    links = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
        except OSError:
            pass
    return len(links), [link for link in links if link.endswith(" (deleted)") and not link.startswith("/memfd:")]


def tree(directory):
    """({path: is a directory} below it but what is in the store, bytes of the store but the queue's)."""
    paths, stored = set(), 0
    for base, directories, files in os.walk(directory):
        inside = os.path.relpath(base, directory)
        if inside.split("/")[0] == "store":
            stored += sum(os.stat(os.path.join(base, name)).st_blocks * 512 for name in files
                          if not name.startswith("jobs.db") and os.path.exists(os.path.join(base, name)))
            continue
        paths.update(os.path.join(inside, name) for name in (*directories, *files))
    return paths, stored


class Census:
    """Compares what there is with what there was when the service first ran, with no sandbox in it."""

    def __init__(self, service, state, uid_base, uid_end):
        self.service, self.state, self.uids = service, state, (uid_base, uid_end)
        self.own_mounts = mounts("self", str(state), CGROUP)
        self.paths, self.stored = tree(state)
        parts = self._parts(service.family())
        self.launcher_mounts = mounts(parts["launcher"])
        self.fds = {name: descriptors(pid)[0] for name, pid in parts.items()}

    def _parts(self, family):
        pids = {name: pid for pid, (_, name) in family.items() if pid != self.service.process.pid}
        return {"server": pids["codesandboxd"], "launcher": pids["csb-launch"]}

    def _processes(self, family, sandboxes):
        names = Counter(name for _, name in family.values())
        want = Counter({"codesandboxd": 2, "csb-launch": 1, "init": 1 + sandboxes, "csb-agent": 1 + sandboxes})
        if names != want:
            yield f"processes: {dict(names)}, not {dict(want)}"
        if os.geteuid() == 0:
            strangers = {pid: name for pid, name in uids(*self.uids).items() if pid not in family}
            if strangers:
                yield f"processes that nobody owns have the service's uids: {strangers}"

    def _files(self, launcher, most):
        """`most` is how many sandboxes there were at once: each has a range of ids, whose view of the tree stays."""
        if mounts("self", str(self.state), CGROUP) > self.own_mounts:
            yield "mounts were left on the host"
        if mounts(launcher) > self.launcher_mounts + most:
            yield f"the launcher has {mounts(launcher)} mounts, not {self.launcher_mounts}"
        paths, stored = tree(self.state)
        if paths - self.paths:
            yield f"left in STATE_DIR: {sorted(paths - self.paths)[:10]}"
        if stored > self.stored + STORE_GROWTH_MAX:
            yield f"the store takes {stored} bytes, not {self.stored}"

    def _descriptors(self, parts, sandboxes):
        for name, pid in parts.items():
            count, removed = descriptors(pid)
            if count > self.fds[name] + FDS_MORE + FDS_PER_SANDBOX * sandboxes:
                yield f"the {name} has {count} descriptors, at first {self.fds[name]}"
            if removed:
                yield f"the {name} holds files that were removed: {removed[:5]}"

    def problems(self, sandboxes, most):
        """What is wrong, as sentences, with this many sandboxes alive."""
        family = self.service.family()
        found = list(self._processes(family, sandboxes))
        groups = {os.path.basename(path) for path in cgroup_dirs()}
        if groups and len(groups) != 1 + sandboxes:
            found.append(f"control groups: {sorted(groups)}, for {sandboxes} sandboxes")
        if found:
            return found
        try:
            parts = self._parts(family)
            return [*self._files(parts["launcher"], most), *self._descriptors(parts, sandboxes)]
        except (OSError, KeyError) as error:  # one of its processes ended meanwhile
            return [f"a part of the service is not there: {error!r}"]


def after_the_end(state, uid_range):
    """What is left when no service runs."""
    if all_cgroups():
        yield f"control groups: {all_cgroups()}"
    if os.geteuid() == 0 and uids(*uid_range):
        yield f"processes: {uids(*uid_range)}"
    if mounts("self", str(state), CGROUP):
        yield "mounts"
