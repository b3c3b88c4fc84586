# SPDX-License-Identifier: Apache-2.0
"""Runs a program that uses E2B's published JavaScript SDKs against a service of its own.

The SDKs are pinned in package.json and installed into CSB_E2B_SDK, by default build/e2b, when they are not
there yet: without node, or npm's registry, the test is skipped and says so, or fails with "e2b" in
CSB_MUST_RUN. CSB_TEST_ISOLATION as in tests/service; CSB_E2B_ONLY names groups of the program, with
commas."""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "service"), str(HERE.parent / "lib")]
import npm  # noqa: E402
from service import IMAGE, ISOLATION, STATE, Service, small_table  # noqa: E402

SDK = pathlib.Path(os.environ.get("CSB_E2B_SDK", IMAGE.parent / "e2b"))
KEY = "e2b_" + 40 * "0"


def skip(why):
    if "e2b" in os.environ.get("CSB_MUST_RUN", "").split(","):
        print(f"not ok 1 - the SDK could not be used: {why}\n1..1")
        sys.exit(1)
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def install():
    npm.install(HERE, SDK)


def environment(service):
    """What a program that uses the SDK finds its service by."""
    url = f"http://127.0.0.1:{service.port}"
    env = {**os.environ, "E2B_API_KEY": KEY, "E2B_API_URL": url, "E2B_SANDBOX_URL": url,
           "CSB_E2B_SDK": str(SDK), "CSB_E2B_IMAGES": str(STATE / "templates/images")}
    env.pop("E2B_DEBUG", None)
    return env


def run(script, only=None, **settings):
    """Does not return. `only`: groups to run where CSB_E2B_ONLY names none."""
    try:
        install()
    except npm.Unusable as why:
        skip(why)
    service = Service(**{"RUNTIMES_DIR": small_table(), "POOL_SIZE": 1 if ISOLATION == "process" else 0,
                         "SANDBOX_READY": 2, "DRAIN_MS": 3000, **settings})
    service.start()
    try:
        env = environment(service)
        if only:
            env.setdefault("CSB_E2B_ONLY", only)
        code = subprocess.run(["node", str(HERE / script)], env=env, stdin=subprocess.DEVNULL).returncode
        if code != 0:
            print("# " + service.log_tail().replace("\n", "\n# "), flush=True)
    finally:
        service.stop()
    sys.exit(code)
