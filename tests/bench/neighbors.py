# SPDX-License-Identifier: Apache-2.0
"""What one tenant feels of another that floods: the p50 of a tenant with one request at a time, by turns
alone and beside another that keeps 64 requests under way, in one service with its default settings.
The flood's client has the lowest priority: a client of its own machine would not take processor time
of the service's at all."""
import http.client
import math
import pathlib
import shutil
import subprocess
import time

from measure import WRK_SCRIPT, create_key, hello_body, quantile, timed_hello

ROUNDS = 6
SECONDS = 1.5  # of each half of a round
WARM = 0.5     # of the flood, before its half is measured
GAP_S = 0.01   # between the polite tenant's requests
FLOOD = 64     # connections
AIM = 1.5
BODY = hello_body()


class Polite:
    def __init__(self, service, key):
        self.headers = {"Content-Type": "application/json", "X-API-KEY": key}
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)

    def run(self):
        """Milliseconds of one run."""
        return timed_hello(self.connection, BODY, self.headers)

    def half(self, seconds):
        """Samples of so long."""
        end = time.monotonic() + seconds
        found = []
        while time.monotonic() < end:
            found.append(self.run())
            time.sleep(GAP_S)
        return found


def flood(service, key, work, seconds):
    script = pathlib.Path(work, "flood.lua")
    script.write_text(f"wrk.headers['X-API-KEY'] = '{key}'\n" + WRK_SCRIPT % BODY.decode())
    return subprocess.Popen(["nice", "-n", "19", "wrk", "-t1", f"-c{FLOOD}", f"-d{seconds}s", "--timeout", "30s",
                             "-s", str(script), f"http://127.0.0.1:{service.port}/execute"],
                            stdout=subprocess.PIPE, text=True)


def rounds(service, work):
    polite, key = Polite(service, create_key(service, "--tenant=polite")), create_key(service, "--tenant=flood")
    alone, beside, rates = [], [], []
    polite.half(SECONDS)
    for _ in range(ROUNDS):
        time.sleep(0.5)
        alone.append(polite.half(SECONDS))
        length = math.ceil(WARM + SECONDS)
        other = flood(service, key, work, length)
        polite.half(WARM)
        beside.append(polite.half(SECONDS))
        text = other.communicate(timeout=60)[0]
        done, wrong, errors = map(int, text[text.index("RESULT "):].split()[1:4])
        if wrong + errors > 0:
            raise RuntimeError(text)
        rates.append(done / length)
    return alone, beside, rates


def neighbors(report, work):
    from service import STATE, Service

    report.samples, kept = {}, report.samples
    state = STATE.parent / "neighbors"
    shutil.rmtree(state, ignore_errors=True)
    report.heading(f"two tenants, process isolation: one request at a time, beside {FLOOD} of another")
    with Service(ISOLATION="process", STATE_DIR=state) as service:
        alone, beside, rates = rounds(service, work)
    shutil.rmtree(state, ignore_errors=True)
    report.add("/execute, alone", sum(alone, []))
    report.add("/execute, beside the flood", sum(beside, []))
    report.value("  the flood's own rate beside it", quantile(rates, 0.5), "runs/s")
    paired = quantile([quantile(b, 0.5) / quantile(a, 0.5) for a, b in zip(alone, beside)], 0.5)
    report.value("  p50 beside it, median of the rounds", paired, "times alone")
    print(f"  aimed at: at most {AIM} times: {'reached' if paired <= AIM else 'missed'}", flush=True)
    report.samples = {**kept, "neighbors": report.samples}
