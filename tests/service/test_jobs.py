#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs as real programs: their results, their limits, and what is known of them when the service is
killed while they run."""
import json
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from service import Service, small_table, wait_until  # noqa: E402
from tap import Tap  # noqa: E402

OVER = ("succeeded", "failed", "cancelled", "may_have_run")


def put(service, language, code, **more):
    status, _, data = service.request("POST", "/jobs", json.dumps({"language": language, "code": code, **more}),
                                      {"Content-Type": "application/json"})
    if status != 202:
        raise RuntimeError(f"{status} {data}")
    return json.loads(data)["id"]


def get(service, name):
    return service.get("/jobs/" + name)[1]


def wait_for(service, name, *states):
    wait_until(lambda: get(service, name)["state"] in states, 200)
    return get(service, name)


def results(t, s):
    names = [put(s, "python", f"import sys\nprint({n} * 7, input())", stdin="x\n") for n in range(20)]
    names.append(put(s, "bash", "echo $0 $1; exit 4", args=["a"]))
    done = [wait_for(s, name, *OVER) for name in names]
    t.check([j["result"]["stdout"] for j in done[:20]] == [f"{n * 7} x\n" for n in range(20)]
            and all(j["state"] == "succeeded" and j["attempts"] == 1 for j in done[:20]), "programs run", done[0])
    t.check(done[20]["state"] == "failed" and done[20]["result"]["exit_code"] == 4, "and fail", done[20])
    done = wait_for(s, put(s, "python", "while True: pass", timeout=0.5), *OVER)
    t.check(done["state"] == "failed" and done["result"]["status"] == "timeout", "limits are those of a run", done)
    name = put(s, "python", "print('begun', flush=True)\nimport time\ntime.sleep(60)")
    wait_for(s, name, "running")
    t.check(s.run("python", "print(1)")["stdout"] == "1\n", "a request does not wait for a job")
    s.request("DELETE", "/jobs/" + name)
    t.check(wait_for(s, name, *OVER)["state"] == "cancelled", "one that runs is ended", get(s, name))


def killed(t, s):
    running = [put(s, "python", "import time\ntime.sleep(60)", max_attempts=n) for n in (1, 2)]
    for name in running:
        wait_for(s, name, "running")
    waiting = put(s, "python", "print('waited')")
    s.stop(signal.SIGKILL)
    s.start()
    t.check(get(s, running[0])["state"] == "may_have_run", "what ran when the service died may have run",
            get(s, running[0]))
    again = wait_for(s, running[1], "running")
    t.check(again["attempts"] == 2, "what may be begun again is", again)
    done = wait_for(s, waiting, *OVER)
    t.check(done["result"] and done["result"]["stdout"] == "waited\n" and done["attempts"] == 1, "what waited runs", done)
    s.request("DELETE", "/jobs/" + running[1])
    t.check(wait_for(s, running[1], *OVER)["state"] == "cancelled", "and is ended", get(s, running[1]))


def end_all(s):
    """Other tests use the same state directory."""
    for state in ("queued", "running"):
        for job in s.get("/jobs?limit=100&state=" + state)[1]["jobs"]:
            s.request("DELETE", "/jobs/" + job["id"])


def main():
    t = Tap()
    service = Service(RUNTIMES_DIR=small_table(), POOL_SIZE=2, JOB_WORKERS=2)
    with service as s:
        t.group(results, s)
        t.group(killed, s)
        end_all(s)
    t.finish()


main()
