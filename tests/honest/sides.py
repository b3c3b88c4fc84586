# SPDX-License-Identifier: Apache-2.0
"""The two ways in which an honest Python program is run here.

Outside: from the root tree by chroot, as uid 1000, in namespaces that only tidy up (mounts, an own
loopback, process numbers), without limits, filter, or any other wall.
Inside: as a user's program, either by the service (POST /execute) or by csb-agent alone.
Both answer a dict: stdout, stderr, ended (one line that says how it ended).
"""
import http.client
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time

GROUP = "csb-honest"
HERE = pathlib.Path(__file__).resolve().parent
# What csb-agent gives every program.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "HOME": "/home/user", "USER": "user", "LOGNAME": "user", "LANG": "C.UTF-8",
               "TMPDIR": "/tmp"}

# The first process of the process namespace is a shell that is not the program.
CHROOT = r"""
set -e
tree=$1 program=$2 PATH=$PATH:/usr/sbin:/sbin
echo sandbox >/proc/sys/kernel/hostname
ip link set lo up 2>/dev/null || true
mount --bind "$tree" "$tree"
cd "$tree"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
for dir in work home/user tmp var/tmp; do
    mount -t tmpfs -o "mode=0755,uid=1000,gid=1000" tmpfs "$dir"
done
chmod 1777 tmp var/tmp
cp "$program" work/main.py
shift 2
set +e
chroot --userspec=1000:1000 --groups=1000 . /usr/bin/env -i -C /work "$@" \
    /usr/bin/python3 main.py
exit $?
"""


def honest_tree():
    """The tree that everything here runs from, built when it is not there."""
    image = pathlib.Path(os.environ.get("CSB_IMAGE_DIR") or HERE.parents[1] / "build" / "image")
    out = image.absolute().parent / "honest"
    if subprocess.run([HERE / "tree.sh", image, out]).returncode != 0:
        raise SystemExit("Bail out! the tree of the honest programs could not be built")
    return out / "root"


def key_of(tree):
    return (pathlib.Path(tree).parent / "key").read_text().strip()


class Outside:
    def __init__(self, tree):
        self.tree = str(tree)

    @staticmethod
    def _fresh():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # What a login has, and more is there for who asks.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM,
                       signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)

    def run(self, code, seconds):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
            program.write(code)
            program.flush()
            os.chmod(program.name, 0o644)
            command = ["unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork",
                       "--kill-child", "--propagation", "private", "/bin/sh", "-c", CHROOT, "sh",
                       self.tree, program.name]
            command += [f"{key}={value}" for key, value in ENVIRONMENT.items()]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True, errors="replace",
                                       start_new_session=True, preexec_fn=self._fresh)
            try:
                out, err = process.communicate(timeout=seconds)
                ended = f"exit {process.returncode}"
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                ended = "timeout"
        return {"stdout": out, "stderr": err, "ended": ended}


def ending(result):
    """One line: "exit 0", "signal 9", or the reason that the sandbox gives."""
    named = {"exit": f"exit {result['exit_code']}", "signal": f"signal {result['signal']}"}
    return named.get(result["reason"], result["reason"])


class Agent:
    """Inside, by csb-agent started for this one program."""

    def __init__(self, build, tree, limits):
        self.build = pathlib.Path(build)
        self.tree = str(tree)
        self.limits = limits

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @staticmethod
    def facts():
        """Of the host: what belongs to the sandboxes."""
        return {"groups": sorted(str(path) for path in pathlib.Path("/sys/fs/cgroup").glob(
            "*/csb-agent.*")), "spaces": [name for name in os.listdir("/run")
                                          if name.startswith("csb-agent.")]}

    def run(self, code, seconds):
        limits = {"wall_ms": int(seconds * 1000), "cpu_ms": int(seconds * 2000), **self.limits}
        with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
            program.write(code)
            program.flush()
            done = subprocess.run([str(self.build / "tests/honest/agent_run"),
                                   str(self.build / "src/agent/csb-agent"), self.tree,
                                   program.name, json.dumps(limits)],
                                  capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            return {"stdout": done.stdout, "stderr": done.stderr, "ended": "agent_run failed"}
        answer = json.loads(done.stdout)
        result = answer["result"]
        return {"stdout": answer["stdout"], "stderr": answer["stderr"], "ended": ending(result)}


def group_dirs():
    """Control groups of the service, whatever the version."""
    base = pathlib.Path("/sys/fs/cgroup")
    return [found for top in (*base.glob(GROUP), *base.glob("*/" + GROUP))
            for found, _, _ in os.walk(top)]


class Inside:
    """Inside, by a codesandboxd of its own with ISOLATION=process on the tree."""

    def __init__(self, build, tree, limits, **settings):
        os.environ.setdefault("CSB_BUILD", str(build))
        os.environ.setdefault("CSB_TEST_STATE", str(pathlib.Path(tree).parent / "state"))
        sys.path.insert(0, str(HERE.parent / "service"))
        from service import Service
        self.limits = limits
        self.service = Service(ISOLATION="process", ROOTFS_TREE=tree, CGROUP_NAME=GROUP,
                               **settings)

    def __enter__(self):
        self.service.start()
        self.port = self.service.port
        return self

    def __exit__(self, *_):
        self.service.__exit__()

    def facts(self):
        """Of the host: what belongs to the sandboxes, and the service's own."""
        family = self.service.family()
        mounts = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                  if str(self.service.settings["ROOTFS_TREE"]) in line or "csb-agent" in line]
        return {"mounts": mounts, "groups": len(group_dirs()),
                "processes": len(family),
                "descriptors": sum(self.service.open_fds(pid)
                                   for pid, (_, name) in family.items() if name.startswith("csb"))}

    def run(self, code, seconds):
        body = json.dumps({"language": "python", "code": code, "timeout": seconds,
                           "limits": {"cpu_ms": int(seconds * 2000), **self.limits}})
        for _ in range(100):
            conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * seconds + 60)
            try:
                conn.request("POST", "/execute", body, {"Content-Type": "application/json"})
                reply = conn.getresponse()
                status, text = reply.status, reply.read()
            finally:
                conn.close()
            if status != 429:
                break
            time.sleep(0.2)
        if status != 200:
            return {"stdout": "", "stderr": text.decode(errors="replace")[:2000],
                    "ended": f"HTTP {status}"}
        answer = json.loads(text)
        return {"stdout": answer["stdout"], "stderr": answer["stderr"], "ended": ending(answer)}
