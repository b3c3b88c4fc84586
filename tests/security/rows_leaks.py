# SPDX-License-Identifier: Apache-2.0
"""What leaks in, and what must never repeat."""
import ast
import concurrent.futures
import json
import pathlib
import re
import time

from host import read
from model import OK, Row, every, program, py, want

# docs/RUNTIMES.md; the rest is what the runtime file sets.
DOCUMENTED = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR"}
# Deno itself adds the last once something of Node's is used.
DENO = DOCUMENTED | {"NO_COLOR", "DENO_NO_UPDATE_CHECK", "DENO_DIR", "DENO_NODE_SHIM_ACTIVE"}
SHELL = DOCUMENTED | {"PWD", "SHLVL", "_", "OLDPWD"}

FINGERPRINTS = """
import json
found={}
for p in ('/proc/version','/proc/cmdline','/proc/mounts','/proc/self/cgroup','/proc/self/mountinfo','/sys/class/dmi/id/product_uuid','/proc/sys/kernel/random/boot_id','/etc/machine-id','/proc/kallsyms','/proc/kcore','/dev/kmsg','/dev/mem','/proc/keys','/proc/timer_list','/proc/modules','/proc/net/route','/proc/net/tcp','/etc/hostname','/etc/shadow','/proc/1/cmdline','/etc/resolv.conf','/etc/hosts'):
    try: found[p]=open(p,'rb').read(65536).decode('latin-1')
    except OSError as e: found[p]=e.errno
print(json.dumps(found))
"""
UNIQUE = """
import os,random,uuid,tempfile,ssl,secrets
print(os.urandom(8).hex(),random.random(),uuid.uuid4(),ssl.RAND_bytes(8).hex(),secrets.token_hex(8),hash('a'),tempfile.mktemp())
"""
COLUMNS = ("urandom", "random", "uuid", "openssl", "secrets", "hash", "temporary name")
UNIQUE_TS = """
console.log(Math.random(), crypto.randomUUID(), crypto.getRandomValues(new Uint32Array(2)).join());
"""
COLUMNS_TS = ("Math.random", "randomUUID", "getRandomValues")
CLOCK = """
import time
m=time.monotonic(); t=time.time()
print(t,time.clock_gettime(time.CLOCK_BOOTTIME),m,time.monotonic()>=m)
"""
TIMING = """
import time
t=[time.perf_counter_ns() for _ in range(100000)]
print(min(b-a for a,b in zip(t,t[1:]) if b>a))
"""


def only_names(*names):
    def check(run):
        OK(run)
        said = set(ast.literal_eval(run.out)) if run.out.startswith(("{", "[")) else set(run.out.split())
        want(said <= set(names), "only documented variables", said - set(names))
    return check


def fingerprints(run):
    """No path, name or number of the host; nothing of the kernel's memory. In process isolation the
    place of the image's tree is told (docs/SECURITY.md): the suite counts that as open."""
    OK(run)
    found = json.loads(run.out)
    closed = ("/proc/kcore", "/dev/kmsg", "/dev/mem", "/etc/shadow", "/sys/class/dmi/id/product_uuid")
    for path in closed:
        want(isinstance(found[path], int) or found[path] == "", f"{path} is closed", found[path])
    symbols = found["/proc/kallsyms"]
    want(isinstance(symbols, int) or not re.search(r"^(?!0+ )[0-9a-f]+ ", symbols, re.M),
         "no addresses of the kernel", str(symbols)[:200])
    text = json.dumps({p: v for p, v in found.items() if p not in ("/proc/version",)})
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/etc/hostname"):
        own = read(path).strip()
        want(len(own) < 6 or own not in text, f"not the host's {path}", own)
    own = read("/proc/cmdline").strip()
    want(len(own) < 6 or own not in text, "not the host's /proc/cmdline", found["/proc/cmdline"])
    for line in found["/proc/self/cgroup"].splitlines():
        want(line.endswith(":/"), "the control group is a root of its own", line)
    if run.world.isolation == "process":
        return
    home = str(pathlib.Path(__file__).resolve().parents[2])
    for line in found["/proc/self/mountinfo"].splitlines():
        want(home not in line and "/var/lib" not in line, "no path of the host in a mount", line)


def repeats(columns, rows):
    return {name: len(rows) - len({row[i] for row in rows}) for i, name in enumerate(columns)
            if len({row[i] for row in rows}) != len(rows)}


def unique(rig):
    """Nothing repeats over many runs. Where programs are forked from a prepared interpreter of the
    host, the hash seed alone is shared by the forks of one (documented), and changes with it."""
    process = rig.world.isolation == "process"
    count, clients = (400, 4) if process else (12, 2)

    def one(language, code):
        return rig.run(language, code).out.split()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        python = list(pool.map(lambda _: one("python", UNIQUE), range(count)))
        deno = list(pool.map(lambda _: one("typescript", UNIQUE_TS), range(count // 10 + 2)))
    double = repeats(COLUMNS, python)
    if process:
        double.pop("hash", None)
        want(len({row[5] for row in python}) > 1, "the hash seed changes within 400 runs")
    want(not double, "no value twice", double)
    want(not repeats(COLUMNS_TS, deno), "nor in TypeScript", repeats(COLUMNS_TS, deno))


def clock(rig):
    before = time.time()
    run = rig.run("python", CLOCK)
    after = time.time()
    now, _, _, forward = run.out.split()
    want(before - 0.5 <= float(now) <= after + 0.5, "the host's time, within 0.5 s", (before, now, after))
    want(forward == "True", "monotonic does not go back", run.out)


def posture(rig):
    """What docs/SECURITY.md says of neighbours on one core: nothing of a sandbox is merged with others."""
    pids = rig.service.pids("qemu") or rig.service.pids("csb-agent")
    for pid in pids:
        stat = read(f"/proc/{pid}/ksm_stat")
        if stat:
            want("ksm_merge_any: yes" not in stat and re.search(r"ksm_merging_pages 0\b", stat),
                 "no page of a sandbox is merged", stat)
    want(pids, "there are sandboxes", rig.service.family())
    text = (pathlib.Path(__file__).resolve().parents[2] / "docs/SECURITY.md").read_text()
    want("KSM" in text and "SMT" in text, "SMT and KSM are in the documentation")


def rows(isolation):
    own_root = "" if isolation == "microvm" else (
        "a root file system of its own (mountinfo shows where the image's tree and the state directory are)")
    return [
        Row(71, "environment and secrets", [
            py("import os;print(dict(os.environ))", only_names(*DOCUMENTED)),
            program("typescript", 'console.log(Object.keys(Deno.env.toObject()).join(" "))', only_names(*DENO)),
            program("rust", 'fn main(){for (n,_) in std::env::vars(){println!("{n}")}}', only_names(*DOCUMENTED)),
            program("bash", "env | cut -d= -f1", only_names(*SHELL))]),
        Row(72, "fingerprints of the host", [py(FINGERPRINTS, every(fingerprints))], later=own_root),
        Row(74, "shared randomness", action=unique),
        Row(75, "the clock", action=clock),
        Row(77, "timing of neighbours", [py(TIMING, OK)], action=posture),
    ]
