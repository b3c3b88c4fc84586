# SPDX-License-Identifier: Apache-2.0
"""What the container of docs/CONTAINER.md costs a run: the same program sent by turns to the service inside, started
by the document's own command, and to the same binaries outside, which run as that uid without any privilege as well.
Each run finds both pools full. Each service is started first once, so that neither always has the place in memory of
the first. Where control groups are version 1 neither has one for each run."""
import os
import pathlib
import re
import resource
import shutil
import subprocess

from measure import ROOT, Client, hello_body, interval, quantile

PAIRS = {"python": 300, "typescript": 150}  # of each of the two orders
WARM = 10
UID = 1000
NAME = f"codesandbox-bench-{os.getpid()}"
TREE = "/var/lib/codesandbox/image/rootfs"
RUN = "podman --runtime runc run"
NOFILE = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
# Of the document's command, what is another's here. Where root may not raise limits, podman's own are refused.
CHANGED = {"--name codesandbox": f"--name {NAME} --ulimit nofile={NOFILE}:{NOFILE} --ulimit nproc=9000:9000",
           "-v codesandbox:/var/lib/codesandbox/state": "-v /var/lib/codesandbox/state"}
V2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
ONLY_V2 = "--systemd always --stop-signal SIGTERM "


def services():
    """{name: class}; their modules are found by the environment that the benchmark sets."""
    from documented import documented
    from service import DAEMON, IMAGE, Service

    class Outside(Service):
        def command(self):
            return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--pdeathsig", "TERM", str(DAEMON)]

    class Inside(Service):
        def command(self):
            command = documented("CONTAINER.md", RUN)
            for old, new in {**CHANGED, f"-v {TREE}:": f"-v {IMAGE.resolve()}/rootfs:",
                             **({} if V2 else {ONLY_V2: ""}),
                             "seccomp=packaging": f"seccomp={ROOT}/packaging"}.items():
                if old not in command:
                    raise RuntimeError(f"docs/CONTAINER.md has no {old!r} in its command")
                command = command.replace(old, new)
            program, image = command.rsplit(" ", 1)
            settings = [f"--env={name}={self.settings[name]}" for name in ("API_PORT", "ISOLATION", "POOL_SIZE")]
            return [*program.split(), *settings, image]

    return {"outside": Outside, "inside": Inside}


def build(work):
    """The image of the document, by its script."""
    from service import BUILD

    subprocess.run([ROOT / "packaging/container/build.sh", BUILD, pathlib.Path(work, "container")], check=True,
                   stdout=subprocess.DEVNULL)


class Side(Client):
    def __init__(self, name, kind):
        from service import IMAGE, STATE

        state = STATE.parent / f"container-{name}"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        os.chown(state, UID, UID)
        self.service = kind(ISOLATION="process", STATE_DIR=state, POOL_SIZE=1, ROOTFS_TREE=IMAGE / "rootfs")
        self.service.start()
        super().__init__(self.service.port)

    def stop(self):
        self.connection.close()
        self.service.stop()
        shutil.rmtree(self.service.settings["STATE_DIR"], ignore_errors=True)


def pairs(order, found):
    """Adds samples to {(language, name): samples}, taken by turns; `order`: which is started first."""
    kinds, sides = services(), {}
    try:
        for name in order:
            sides[name] = Side(name, kinds[name])
        for language, count in PAIRS.items():
            body = hello_body(language)
            for n in range(WARM + count):
                for name in order if n % 2 == 0 else order[::-1]:
                    for side in sides.values():
                        side.wait_full()
                    took = sides[name].run(body)
                    if n >= WARM:
                        found[language, name].append(took)
    finally:
        for side in sides.values():
            side.stop()


def tell(report, language, inside, outside):
    for name, took in (("outside", outside), ("inside", inside)):
        report.add(f"/execute {language}, {name}", took)
        report.value("  p95", quantile(took, 0.95), "ms")
    ratios = [i / o for i, o in zip(inside, outside)]
    report.value(f"  ratio of the p50, {language}", quantile(inside, 0.5) / quantile(outside, 0.5), "inside/outside")
    report.value("  p50 of the ratios in pairs", quantile(ratios, 0.5), "inside/outside")
    low, high = interval(ratios)
    report.samples[f"ratio {language}"] = [low, high]
    print(f"  which is within {low:.3f} and {high:.3f}, 19 times of 20", flush=True)


def container(report, work):
    report.samples, kept = {}, report.samples
    version = re.search(r"[\d.]+", subprocess.run(["podman", "--version"], check=True, capture_output=True,
                                                  text=True).stdout).group()
    report.heading(f"/execute in a container, by turns with the same service outside: podman {version}, runc, control "
                   f"groups version {2 if V2 else 1}")
    build(work)
    found = {(language, name): [] for language in PAIRS for name in ("outside", "inside")}
    for order in (("outside", "inside"), ("inside", "outside")):
        pairs(order, found)
    for language in PAIRS:
        tell(report, language, found[language, "inside"], found[language, "outside"])
    report.samples = {**kept, "container": {**report.samples}}
