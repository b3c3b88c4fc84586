# SPDX-License-Identifier: Apache-2.0
"""What the host looks like from outside the sandboxes: must be the same before and after a row.

A snapshot is a dictionary of comparable values, by kind and without names that change from one
sandbox to the next. It is taken at rest: pool full, nothing running. What can only be bounded
(memory of the daemon, log, disk) is compared with a limit.
"""
import collections
import errno
import os
import pathlib
import re

from service import processes

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock")
# Files that the rows try to leave on the host.
SENTINELS = [f"{d}/{n}" for d in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/home", "/root",
                                  "/etc", "/usr/bin", "/")
             for n in ("bean", "owned", "csb-security-escape")]
RSS_GROWTH = 40 << 20
LOG_GROWTH = 64 << 10
DISK_LOSS = 4 << 30     # other programs use the disk as well
STATE_GROWTH = 1 << 20
AGENTS_GROUP = "/csb-agent."
SPARE_GROUPS = 4 * 64   # empty control groups that the agent keeps, in each hierarchy of version 1
SPARE_NETS = 66         # empty network namespaces that the agent keeps for the next runs
SPARE = {"network namespaces": SPARE_NETS, "groups of the agent": SPARE_GROUPS}
KEPT_MOUNT = " /mnt/lasting-"   # the launcher's, one for each sandbox there were at once
BOUNDED = {"daemon rss": RSS_GROWTH, "log bytes": LOG_GROWTH, "disk used": DISK_LOSS,
           "state bytes": STATE_GROWTH}
# A memory limit that was reached is told there as well, with a trace; that is no trouble.
KERNEL = re.compile(r"\bOops\b|BUG:|kernel BUG|WARNING: CPU|soft lockup|blocked for more than"
                    r"|\] Out of memory: Killed|constraint=CONSTRAINT_NONE|nf_conntrack: table full")


def read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def links(directory):
    """What the links of a directory name: open files, namespaces."""
    found = []
    try:
        names = os.listdir(directory)
    except OSError:
        return found
    for name in names:
        try:
            found.append(os.readlink(f"{directory}/{name}"))
        except OSError:
            pass
    return found


def kind(link):
    """The sort of an open file, without its number; None for those of spare network namespaces and of
    spare control groups, which are counted by themselves."""
    if link.startswith("net:[") or re.match(r"/proc/\d+/net/", link) or AGENTS_GROUP in link:
        return None
    numbered = link.startswith(("/proc", "/sys", "/memfd", "/run/csb"))
    return re.sub(r"\d+", "N", link) if numbered else re.sub(r"\[\d+\]", "", link)


def owner(pid):
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


class KernelLog:
    """Records since it was made; only those that mean trouble."""

    def __init__(self):
        self.trouble = []
        try:
            self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            self.fd = None

    def read(self):
        while self.fd is not None:
            try:
                record = os.read(self.fd, 16384).decode(errors="replace")
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten meanwhile; reading goes on after it
                    continue
                break
            if KERNEL.search(record):
                self.trouble.append(record.strip()[:300])
        return list(self.trouble)


class Host:
    def __init__(self, service, uids):
        self.service = service
        self.uids = uids        # of the service and of what it runs; empty: all is the user's own
        self.log = KernelLog()

    def members(self):
        """{pid: name} of the service and of all that runs as one of its uids."""
        found = {pid: name for pid, (_, name) in self.service.family().items()}
        for pid, (_, _, name) in processes().items():
            if owner(pid) in self.uids:
                found[pid] = name
        return found

    def groups(self):
        found = collections.Counter()
        for base, dirs, _ in os.walk("/sys/fs/cgroup"):
            if f"/{self.service.settings['CGROUP_NAME']}/" in base + "/":
                found[re.sub(r"[0-9a-f]{6,}|\d+", "N", base)] += len(dirs)
        spare = sum(found.pop(name) for name in list(found) if AGENTS_GROUP in name)
        return dict(found), spare

    def temporary(self):
        found = set()
        for top in TEMPORARY:
            for path in pathlib.Path(top).glob("*"):
                try:
                    if path.lstat().st_uid in self.uids:
                        found.add(str(path))
                except OSError:
                    pass
        return sorted(found | {p for p in SENTINELS if os.path.lexists(p)})

    def state(self):
        """Number of files below the state directory, and their bytes."""
        count = used = 0
        for base, dirs, files in os.walk(self.service.settings["STATE_DIR"]):
            for name in dirs + files:
                try:
                    used += os.lstat(os.path.join(base, name)).st_blocks * 512
                    count += 1
                except OSError:
                    pass
        return count, used

    def core(self, members):
        """The processes that live as long as the service: {role: pid}."""
        roles = {"supervisor": self.service.process.pid}
        for pid, name in sorted(members.items()):
            if name.startswith("codesandboxd") and pid != self.service.process.pid:
                roles["daemon"] = pid
            elif name.startswith("csb-launch"):
                roles.setdefault("launcher", pid)
            elif name.startswith("csb-agent") and "--envd" not in read(f"/proc/{pid}/cmdline").split("\0"):
                roles.setdefault("agent", pid)  # of runs; those of sandboxes come and go
        return roles

    def snapshot(self):
        members = self.members()
        roles = self.core(members)
        count, used = self.state()
        groups, kept = self.groups()
        disk = os.statvfs(self.service.settings["STATE_DIR"])
        nets = {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in members
                if os.access(f"/proc/{pid}/ns/net", os.R_OK)}
        nets |= {link for pid in roles.values() for link in links(f"/proc/{pid}/fd")
                 if link.startswith("net:")}
        return {
            "processes": dict(collections.Counter(members.values())),
            "cgroups": groups,
            "groups of the agent": kept,
            "network namespaces": len(nets),
            "network links": sorted(os.listdir("/sys/class/net")),
            "mounts": {role: [line.split()[4] for line in read(f"/proc/{pid}/mountinfo").splitlines()
                              if KEPT_MOUNT not in line]
                       for role, pid in {"host": "self", **roles}.items()},
            "loop devices": len(list(pathlib.Path("/sys/block").glob("loop*/loop/backing_file"))),
            "open files": {role: dict(collections.Counter(filter(None, map(kind, links(f"/proc/{pid}/fd")))))
                           for role, pid in roles.items()},
            "temporary files": self.temporary(),
            "state files": count,
            "daemon rss": rss(roles.get("daemon", "self")),
            "log bytes": os.path.getsize(self.service.log.name),
            "disk used": (disk.f_blocks - disk.f_bavail) * disk.f_frsize,
            "state bytes": used,
            "kernel log": self.log.read(),
        }


def rss(pid):
    match = re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{pid}/status"))
    return int(match.group(1)) * 1024 if match else 0


def differences(before, after):
    """What of a later snapshot is not as it was."""
    found = []
    for name, old in before.items():
        new = after[name]
        if name in BOUNDED:
            if new > old + BOUNDED[name]:
                found.append(f"{name}: {old} before, {new} after")
        elif name in SPARE:
            if new > max(old, SPARE[name]):
                found.append(f"{name}: {old} before, {new} after")
        elif name == "mounts":
            found += [line for role in sorted({*old, *new})
                      for line in mount_changes(role, old.get(role, []), new.get(role, []))]
        elif name == "kernel log":
            found += [f"kernel: {line}" for line in new[len(old):]]
        else:
            found += changes(name, old, new)
    return found


def mount_changes(role, old, new):
    """Of two lists of mount points. A mount goes from every namespace, also from a private one, when somebody
    removes the directory that it is on: that is nothing that a row did."""
    gone = collections.Counter(old) - collections.Counter(new)
    lost = [point for point in gone if role != "agent" and os.path.lexists(point)]
    if len(new) > len(old) or lost:
        came = collections.Counter(new) - collections.Counter(old)
        yield f"mounts: {role}: {len(old)} before, {len(new)} after; new: {list(came)}, gone: {lost}"


def changes(name, old, new):
    """Of two dictionaries just what differs."""
    if old == new:
        return []
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [f"{name}: {old} before, {new} after"]
    return [line for key in sorted({*old, *new})
            for line in changes(f"{name}: {key}", old.get(key, 0), new.get(key, 0))]
