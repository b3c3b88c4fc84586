#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""csb over the fake driver: what of its commands needs virtual machines (pause, resume, fork), the completion
for bash, and the manual pages against the tables of commands. The rest is driven by tests/service/test_csb.py.

    test_csb.py SOURCE
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import BUILD, Daemon  # noqa: E402
from tap import Tap  # noqa: E402

CSB = BUILD / "src/cli/csb"
SOURCE = pathlib.Path(sys.argv[1])
GROUPS = ("sandbox", "template", "job")


def csb(port, *args):
    return subprocess.run([str(CSB), *args], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "CSB_URL": f"http://127.0.0.1:{port}", "E2B_API_KEY": "x"})


def machines(t):
    with Daemon() as d:
        name = csb(d.port, "sandbox", "create").stdout.strip()
        t.check(csb(d.port, "sandbox", "pause", name).returncode == 0, "sandbox pause")
        t.check(" paused " in csb(d.port, "sandbox", "list").stdout, "it is listed as paused")
        again = csb(d.port, "sandbox", "pause", name)
        t.check(again.returncode == 125 and "paused" in again.stderr, "twice is refused", again)
        done = csb(d.port, "sandbox", "resume", "--json", name)
        t.check(json.loads(done.stdout)["sandboxID"] == name, "sandbox resume --json", done)
        done = csb(d.port, "sandbox", "fork", "-n", "2", name)
        copies = done.stdout.split()
        t.check(done.returncode == 0 and len(set(copies) - {name}) == 2, "sandbox fork prints the copies", done)
        t.check(csb(d.port, "sandbox", "kill", name, *copies).returncode == 0
                and csb(d.port, "sandbox", "list").stdout == "", "sandbox kill of several")
        done = csb(d.port, "template", "rm", "none:default")
        t.check(done.returncode == 1 and "no such" in done.stderr, "template rm asks the service for a snapshot", done)


def many(t):
    """More than a page of the service's."""
    with Daemon(SANDBOX_MAX=120, SANDBOX_MAX_PER_KEY=120) as d:
        made = {d.request("POST", "/v2/sandboxes", json.dumps({"templateID": "base"}),
                          {"Content-Type": "application/json"})[2]["sandboxID"] for _ in range(105)}
        listed = csb(d.port, "sandbox", "list", "-q")
        t.check(len(made) == 105 and set(listed.stdout.split()) == made, "sandbox list has all pages",
                (len(made), len(listed.stdout.split()), listed.stderr))
        done = csb(d.port, "top", "-n", "1", "--json")
        shown = json.loads(done.stdout or "{}").get("sandboxes", [])
        t.check({s["sandboxID"] for s in shown} == made and all("metrics" in s for s in shown),
                "and so has top, with what each uses", (done.returncode, done.stderr, len(shown)))


def complete(t, script, line):
    """What is offered after the words of the line."""
    words = line.split(" ")
    done = subprocess.run(["bash", "-c", f'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _csb; '
                           'printf "%s\\n" "${COMPREPLY[@]}"', "bash", script, *words],
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": f"{BUILD / 'src/cli'}:{os.environ['PATH']}",
                               "CSB_URL": "http://127.0.0.1:1"})
    t.check(done.stderr == "", f"completing '{line}' says nothing", done.stderr)
    return done.stdout.split()


def completion(t, d):
    path = pathlib.Path(d.state) / "csb.bash"
    path.write_text(csb(1, "completion", "bash").stdout)
    t.check(subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0, "completion is a script")
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-s", "bash", str(path)], capture_output=True, text=True, check=False)
        t.check(done.returncode == 0, "shellcheck finds nothing", done.stdout)
    top = complete(t, path, "csb ")
    t.check({"run", "sandbox", "template", "top", "key", "doctor"} <= set(top) and "completion" not in top,
            "commands", top)
    t.check(complete(t, path, "csb sandbox ex") == ["exec"], "commands of a command")
    t.check("--user" in complete(t, path, "csb sandbox exec --u") and complete(t, path, "csb top --d") == ["--delay"],
            "options")
    t.check(complete(t, path, "csb key ") == ["create", "list", "revoke"] and "set" in complete(t, path, "csb tenant ")
            and complete(t, path, "csb help sand") == ["sandbox"], "what comes first")
    t.check("--role" in complete(t, path, "csb key create --r"), "and the options after it")
    t.check(complete(t, path, "csb sandbox kill ") == [], "no ids without a service")


def commands():
    """{'sandbox exec': usage} as the program tells them."""
    found = {}
    for name in re.findall(r"^  (\w+)", csb(1, "help").stdout, re.M):
        found[name] = None
    for top in GROUPS:
        for name in re.findall(r"^  (\w+)", csb(1, top, "--help").stdout, re.M):
            found[f"{top} {name}"] = None
    return found


def manuals(t):
    text = (SOURCE / "docs/man/csb.1").read_text()
    told = set(re.findall(r"^\.It (?:Cm|Ic) ([a-z ]+?)(?: (?:Ar|Op|Fl|Oc|Oo|No).*)?$", text, re.M))
    known = set(commands()) - set(GROUPS)
    t.check(known <= told, "docs/man/csb.1 has every command", known - told)
    t.check(told <= known | {"completion bash"} | {name for name in told if name == "key"},
            "and no other", told - known)
    for page in ("csb.1", "codesandboxd.8", "codesandbox-image.8"):
        path = SOURCE / "docs/man" / page
        if shutil.which("mandoc"):
            done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)], capture_output=True, text=True,
                                  check=False)
            t.check(done.returncode == 0, f"mandoc finds nothing wrong with {page}", done.stdout)
        elif shutil.which("groff"):
            done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z", str(path)], capture_output=True, text=True,
                                  check=False)
            t.check(done.returncode == 0 and done.stderr == "", f"groff finds nothing wrong with {page}", done.stderr)
        else:
            print(f"# neither mandoc nor groff here: {page} was not checked")


def usage(t):
    """Every command tells how it is used, and refuses what it does not know in its own name."""
    for name in sorted(set(commands()) - set(GROUPS)):
        words = name.split()
        told = [csb(1, *words, "--help"), csb(1, "help", *words), csb(1, *words, "-h")]
        t.check(all(x.returncode == 0 and x.stderr == "" and f"usage: csb {name}" in x.stdout for x in told),
                f"csb {name} --help", told[0])
        if name not in ("version", "help", "key", "tenant"):
            bad = csb(1, *words, "--no-such")
            t.check(bad.returncode == 2 and "--no-such" in bad.stderr and bad.stdout == ""
                    and (f"csb {name}: unrecognized option" in bad.stderr), f"csb {name} --no-such", bad)
    for args, word in ((("sandbox", "create", "-t", "0"), "--timeout: '0'"), (("job", "wait", "-t", "x", "j1"), "--timeout"),
                       (("sandbox", "exec", "-t", "x", "i", "true"), "--timeout"), (("help", "nothing"), "'nothing'"),
                       (("sandbox", "nothing"), "'nothing'"),
                       (("key", "create", "--role=x"), "--role=run|admin"), (("tenant", "list", "x"), "tenant list [--json]")):
        done = csb(1, *args)
        t.check(done.returncode == 2 and word in done.stderr, f"csb {' '.join(args)} says what is wrong", done)
    done = csb(1, "run", "-l", "python", __file__)
    t.check(done.returncode == 125 and "is the service running? CSB_URL" in done.stderr, "no service", done)


def operator(t, d):
    done = csb(d.port, "run", "-l", "python", "/dev/null")
    t.check(done.returncode == 2 and "code" in done.stderr, "an empty program is the service's to refuse", done)
    env = {**os.environ, "STATE_DIR": d.state + "/operated"}

    def ask(*args):
        done = subprocess.run([str(CSB), *args], capture_output=True, text=True, timeout=60, check=False, env=env)
        t.check(done.returncode == 0, f"csb {' '.join(args)}", done)
        return json.loads(done.stdout) if "--json" in args else None
    made = ask("key", "create", "--tenant=acme", "--json", "builds")
    ask("tenant", "set", "acme", "TENANT_RUNS=4")
    ask("key", "revoke", made["id"])
    listed = ask("key", "list", "--json")
    key = made.pop("key")
    t.check(key.startswith(made["hint"]) and listed == [{**made, "revoked": True, "limits": {"TENANT_RUNS": 4}}]
            and made["name"] == "builds" and made["role"] == "run"
            and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["created_at"]),
            "keys as JSON, with times as the API has them", (made, listed))
    done = subprocess.run([str(CSB), "key", "create", "--tenant=a b"], capture_output=True, text=True, check=False, env=env)
    t.check(done.returncode == 2 and "tenant" in done.stderr, "a name that no tenant can have", done)
    for args in (("key", "list", "--json"), ("key", "create", "--json", "x"), ("tenant", "list", "--json")):
        done = subprocess.run([str(CSB), *args], capture_output=True, text=True, check=False,
                              env={**env, "STATE_DIR": "/proc/none"})
        t.check(done.returncode == 125 and "STATE_DIR" in done.stderr and "STATE_DIR" in json.loads(done.stdout)["error"]["message"],
                f"an error of csb {' '.join(args)} is JSON", done)
    t.check(ask("tenant", "list", "--json") == {"acme": {"TENANT_RUNS": 4}}, "tenants as JSON")


def doctor(t, d):
    path = pathlib.Path(d.state) / "host.conf"
    path.write_text(f"isolation = process\napi_port = {d.port}\nqemu_path = /nowhere\n")
    env = {k: v for k, v in os.environ.items() if k not in ("ISOLATION", "API_PORT", "CSB_URL")}

    def ask(*args, **more):
        done = subprocess.run([str(CSB), "doctor", "--json", *args], capture_output=True, text=True, timeout=60,
                              check=False, env={**env, **more}, cwd=d.state)
        return {x["name"]: x for x in json.loads(done.stdout)} if done.stdout else done, done.returncode
    found, _ = ask(f"--config={path}")
    t.check(found["config"]["verdict"] == "ok" and str(path) in found["config"]["text"] and "qemu" not in found,
            "doctor reads the file that it is given", found)
    t.check(f":{d.port}" in found["service"]["text"] and "isolation" in found["service"]["text"],
            "and looks for the service where that puts it", found["service"])
    made = [d.request("POST", "/v2/sandboxes", '{"templateID":"base"}', {"X-API-KEY": "any"})[2]["sandboxID"]
            for _ in range(15)]
    d.request("POST", f"/sandboxes/{made[0]}/pause", "{}", {"X-API-KEY": "any"})
    found, _ = ask(f"--config={path}")
    told = found["sandboxes"]
    named = re.findall(r"i[a-z0-9]{20}", told["text"])
    t.check(told["text"].startswith("14 run, 1 paused: ") and told["text"].endswith(" ...") and len(named) > 5
            and set(named) < set(made[1:]) and "lost" in told["advice"],
            "it tells which sandboxes there are, and what a stop does to them", told)
    for name in made:
        d.request("DELETE", f"/sandboxes/{name}", None, {"X-API-KEY": "any"})
    found, code = ask(f"--config={path}", ISOLATION="microvm")
    t.check(found["qemu"]["verdict"] == "BAD" and code == 1, "the environment wins over the file", found)
    path.write_text("isolation = process\napi_port = x\nno_such = 1\n")
    found, code = ask(f"--config={path}")
    t.check(found["config"]["verdict"] == "BAD" and f"{path}:2: API_PORT" in found["config"]["text"] and code == 1
            and "1 more" in found["config"]["advice"] and "process" in found,
            "what is wrong with it is told with its line, and the rest all the same", found["config"])
    found, code = ask(f"--config={path}.none")
    t.check(found["config"]["verdict"] == "BAD" and code == 1, "a file that is not there is told of", found["config"])
    found, _ = ask(f"--config={path}", CSB_URL="http://127.0.0.1:1")
    t.check(found["sandboxes"]["text"].startswith("not told"), "of no service it tells no sandboxes", found["sandboxes"])
    t.check(subprocess.run([str(CSB), "doctor", "x"], capture_output=True, check=False).returncode == 2,
            "doctor takes no argument")


def kvm_for_others(t):
    """Where no device node can be made, VMMs get the host's, which may be closed to their uids."""
    node = pathlib.Path("/dev/kvm")
    namespace = ["unshare", "-Urm"]  # its root may make none
    if not node.exists() or node.stat().st_mode & 0o6 == 0o6:
        print("# not tried: /dev/kvm is not there, or open to all")
        return
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode != 0:
        print("# not tried: there are no user namespaces")
        return
    env = {**os.environ, "ISOLATION": "microvm"}
    done = subprocess.run([*namespace, str(CSB), "doctor", "--json"], capture_output=True, text=True, timeout=60,
                          check=False, env=env)
    (kvm,) = [x for x in json.loads(done.stdout) if x["name"] == "kvm"]
    t.check(kvm["verdict"] == "weak" and "not open to VMMs" in kvm["text"], "KVM that VMMs may not open is none", kvm)


def main():
    tap = Tap()
    tap.group(kvm_for_others)
    tap.group(machines)
    tap.group(many)
    with Daemon(wait_ready=False) as d:
        tap.group(lambda t: completion(t, d))
        tap.group(lambda t: doctor(t, d))
        tap.group(lambda t: operator(t, d))
    tap.group(usage)
    tap.group(manuals)
    tap.finish()


if __name__ == "__main__":
    main()
