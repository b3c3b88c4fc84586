# SPDX-License-Identifier: Apache-2.0
"""What the rows mean for a sandbox that lives long: a part of its own for each, on real sandboxes, by the
protocol of E2B's SDKs. `PARTS` says which row has which; rig.py runs them where sandboxes can be made.
"""
import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import secrets
import signal
import time
import urllib.parse

from model import want
from service import processes, wait_until

KEY = {"X-API-KEY": "any"}
PLANE = "49983"
DEADLINE_S = 150


def ask(rig, method, path, body=None, headers=KEY):
    """(status, parsed body); no answer is a fault of ours, but 501 is one that is told, 502 of a sandbox."""
    data = None if body is None else json.dumps(body)
    status, _, answer = rig.service.request(method, path, data, headers, timeout=DEADLINE_S)
    want(status < 500 or status in (501, 502), "no fault of ours", (status, answer[:300]))
    try:
        return status, json.loads(answer) if answer else None
    except ValueError:
        return status, answer


class Box:
    """One sandbox; a context manager."""

    def __init__(self, rig, **fields):
        self.rig = rig
        status, made = ask(rig, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, **fields})
        want(status == 201, "a sandbox is made", (status, made))
        self.id = made["sandboxID"]
        self.plane = {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": PLANE,
                      "X-Access-Token": made["envdAccessToken"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ask(self.rig, "DELETE", f"/sandboxes/{self.id}")

    def start(self, script, user="user"):
        """The open answer of a command."""
        body = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", script]}}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.rig.service.port, timeout=DEADLINE_S)
        connection.request("POST", "/process.Process/Start", bytes([0]) + len(body).to_bytes(4, "big") + body,
                           {**self.plane, "Content-Type": "application/connect+json",
                            "Authorization": "Basic " + base64.b64encode(f"{user}:".encode()).decode()})
        answer = connection.getresponse()
        want(answer.status == 200, "a command is started", (answer.status, self.id))
        return answer

    def run(self, script, user="user"):
        """(exit code, standard output); the code is None when the stream broke off."""
        answer = self.start(script, user)
        out, code = b"", None
        try:
            while len(head := answer.read(5)) == 5:
                message = json.loads(answer.read(int.from_bytes(head[1:], "big")))
                event = message.get("event", {})
                out += base64.b64decode(event.get("data", {}).get("stdout", ""))
                if "end" in event:
                    code = event["end"].get("exitCode", 0)
        except (http.client.IncompleteRead, OSError, ValueError):
            pass
        answer.close()
        return code, out.decode(errors="replace")

    def python(self, code):
        return self.run("python3 - <<'END'\n" + code + "\nEND\n")

    def get(self, path, limit=None):
        """(status, content) of a file; at most `limit` bytes are read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rig.service.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", "/files?path=" + urllib.parse.quote(path), None, self.plane)
            answer = connection.getresponse()
            return answer.status, answer.read() if limit is None else answer.read(limit)
        finally:
            connection.close()

    def put(self, path, data):
        headers = {**self.plane, "Content-Type": "application/octet-stream"}
        status, _, answer = self.rig.service.request("POST", "/files?path=" + urllib.parse.quote(path), data,
                                                     headers, timeout=DEADLINE_S)
        return status, answer

    def call(self, name, body):
        status, _, answer = self.rig.service.request("POST", "/filesystem.Filesystem/" + name, json.dumps(body),
                                                     {**self.plane, "Content-Type": "application/json"})
        return status, json.loads(answer)


def child_outlives(rig):
    """8: it is there after its parent's answer, and ends with the sandbox (the host is compared)."""
    with Box(rig) as box:
        start = time.monotonic()
        code, out = box.run("setsid sleep 600 < /dev/null > /dev/null 2>&1 & echo parent done")
        want(code == 0 and out == "parent done\n" and time.monotonic() - start < 60, "the answer comes at once",
             (code, out))
        # It may be a shell still when its parent has ended.
        want(wait_until(lambda: box.run("pgrep -c sleep")[1] == "1\n", 60), "the child lives and is seen",
             box.run("ps ax"))


def sparse(rig):
    """19: a file of a tebibyte is streamed, not read: who asks stops when he has enough."""
    with Box(rig) as box:
        code, out = box.python("import os\nfd=os.open('/tmp/big',os.O_CREAT|os.O_WRONLY)\nos.truncate(fd,1<<40)")
        want(code == 0, "a sparse file", out)
        status, data = box.get("/tmp/big", 1 << 20)
        want(status == 200 and data == bytes(1 << 20), "its first bytes", (status, len(data)))
        want(box.run("echo alive")[1] == "alive\n", "the sandbox lives")


def deep(rig):
    """21: a deep tree is removed by the API without a deep stack."""
    with Box(rig) as box:
        box.python("import os\nos.mkdir('/tmp/deep'); os.chdir('/tmp/deep')\n"
                   "for _ in range(4000):\n    os.mkdir('d'); os.chdir('d')\nos.symlink('/etc','link')")
        status, answer = box.call("Remove", {"path": "/tmp/deep"})
        want(status == 200, "it is removed", (status, answer))
        want(box.run("ls -d /tmp/deep; test -s /etc/passwd && echo kept")[1] == "kept\n", "it alone")


def links_read(rig):
    """31: a link leads to the sandbox's own file, never to the host's."""
    with Box(rig) as box:
        box.run("ln -s /etc/shadow out.txt; ln -s /proc/1/environ out2.txt; ln -s /proc/1/root/etc/hostname out3.txt")
        for name in ("out.txt", "out2.txt", "out3.txt", "/proc/1/environ", "/proc/self/environ"):
            status, data = box.get(name)
            for path in ("/etc/shadow", "/etc/hostname", "/proc/self/environ"):
                try:
                    own = pathlib.Path(path).read_bytes()
                except OSError:
                    continue
                want(len(own) < 8 or own not in data, f"{name} is not the host's {path}", data[:200])
            for secret in rig.world.secrets:
                want(secret.encode() not in data, f"{name} has nothing of the host", data[:200])


RACE = """cd /tmp; mkdir -p d; echo x > d/NAME
while true; do mv d e; ln -s /var/tmp d; rm d; mv e d; done"""


def swapped(rig):
    """32: a directory that becomes a link in a loop: reads and writes go nowhere on the host."""
    victim = pathlib.Path(f"/var/tmp/csb-security-{secrets.token_hex(6)}")
    victim.write_text("the host's")
    try:
        with Box(rig) as box:
            racing = box.start(RACE.replace("NAME", victim.name))
            for n in range(60):
                for path in (f"/tmp/d/{victim.name}", f"/tmp/d/../d/{victim.name}"):
                    status, data = box.get(path)
                    want(b"host" not in data, "never the host's file", (status, data[:100]))
                    want(status in (200, 404) or status == 400, "what is there, or nothing", (status, data[:200]))
                if n % 3 == 0:
                    status, data = box.put(f"/tmp/d/{victim.name}", b"x")
                    want(status < 500, "a write that ends", (status, data))
            racing.close()
        want(victim.read_text() == "the host's", "the host's file is as it was")
    finally:
        victim.unlink()


def planted(rig):
    """33: links where a client writes next lead to the sandbox's own places."""
    with Box(rig) as box:
        box.run("for p in run.sh main.py stdin stdout; do ln -sf /tmp/owned $p; done")
        for name in ("run.sh", "main.py", "stdin", "stdout"):
            want(box.put(name, b"data")[0] < 500, "an upload over a link ends")
        want(not os.path.lexists("/tmp/owned"), "nothing on the host")
        want(box.run("echo still; exit 3") == (3, "still\n"), "the next command runs")


def special(rig):
    """35: what is no file is neither waited for nor read."""
    with Box(rig) as box:
        box.python("import os,socket\nos.chdir('/tmp')\nos.mkfifo('fifo.out')\n"
                   "socket.socket(socket.AF_UNIX).bind('sock.out')\n")
        for name in ("/tmp/fifo.out", "/tmp/sock.out", "/dev/zero", "/dev/tty", "/tmp"):
            start = time.monotonic()
            status, data = box.get(name, 1 << 16)
            want(400 <= status < 500 and time.monotonic() - start < 60, f"{name} is refused", (status, data[:100]))
            if name != "/tmp":
                status, answer = box.put(name, b"x")
                want(400 <= status < 500, f"{name} is not written to", (status, answer))


def names(rig):
    """36: names of files by the API."""
    with Box(rig) as box:
        for name in ("../../../../../etc/csb-up", "a\nb", "-rf", "ü" * 60, "a b\t"):
            want(box.put(name, b"1")[0] == 200, f"{name!r} is a name")
        want(box.run("cat /etc/csb-up")[1] == "1" and not os.path.exists("/etc/csb-up"), "all the way up is its own root")
        for path in ("n" * 300, "a/" * 3000 + "x"):
            want(400 <= box.put(path, b"1")[0] < 500, "too long a name is refused")
        for raw in ("a%00b", "%ff%fe"):
            status, _, answer = rig.service.request("POST", "/files?path=" + raw, b"1", {
                **box.plane, "Content-Type": "application/octet-stream"})
            want(status < 500, f"{raw} is told about", (status, answer[:200]))


def left_behind(rig):
    """38: nothing of one sandbox is in the next, root or not."""
    places = "/tmp /var/tmp /dev/shm /run /home/user /root /etc /usr/bin /csb"
    with Box(rig) as box:
        box.run(f"for d in {places}; do touch $d/bean; done", "root")
    with Box(rig) as box:
        want(box.run(f"for d in {places}; do ls $d/bean; done 2> /dev/null", "root")[1] == "", "none of it is there")


SERVER = ("import http.server,os\nos.makedirs('/tmp/www',exist_ok=True); os.chdir('/tmp/www')\n"
          "open('who','w').write(os.environ['E2B_SANDBOX_ID'])\n"
          "http.server.test(http.server.SimpleHTTPRequestHandler,port=8000,bind='127.0.0.1')")


def fetch(rig, path, **headers):
    status, _, data = rig.service.request("GET", path, None, headers, timeout=DEADLINE_S)
    return status, data.decode(errors="replace")


def exposed(rig):
    """70: a port is reached by its own sandbox's id alone, however the request names it."""
    with Box(rig) as one, Box(rig, network={"allowPublicTraffic": False}) as two:
        serving = one.start("exec python3 -c \"" + SERVER.replace("\n", ";") + "\"")
        to = {"E2b-Sandbox-Id": one.id, "E2b-Sandbox-Port": "8000"}
        wait_until(lambda: fetch(rig, "/who", **to)[0] == 200, 60, 0.2)
        want(fetch(rig, "/who", **to) == (200, one.id), "its server answers", fetch(rig, "/who", **to))
        for other in ({**to, "E2b-Sandbox-Port": "8001"}, {**to, "E2b-Sandbox-Id": "i" + 20 * "0"}):
            want(fetch(rig, "/who", **other)[0] == 502, "no other port, no other sandbox", other)
        hidden = {**to, "E2b-Sandbox-Id": two.id}
        want(fetch(rig, "/who", **hidden)[0] == 403, "a private one wants its token", fetch(rig, "/who", **hidden))
        mixed = fetch(rig, "/who", **hidden, Host=f"8000-{one.id}.localhost")
        want(mixed in ((200, one.id), (400, mixed[1]), (403, mixed[1])), "two names for a sandbox do not open another", mixed)
        for bad in ("0", "65536", "-1", "8000x", "", "٣"):
            status, answer = fetch(rig, "/who", **{**to, "E2b-Sandbox-Port": bad.encode().decode("latin-1")})
            want(status in (400, 404), f"no port {bad!r}", (status, answer))
        serving.close()


def strange_templates(rig):
    """84: names of templates, snapshots and sandboxes with paths and shell characters."""
    for name in ("../../etc", "a;id", "/etc/x", "base/../base", "base\n", "$(id)", "s" + 20 * "a", "base:default",
                 "s" + 20 * "." + ":default", "x" * 5000):
        status, answer = ask(rig, "POST", "/v2/sandboxes", {"templateID": name})
        want(status in (400, 404), f"no template {name[:40]!r}", (status, answer))
        status, answer = ask(rig, "DELETE", "/templates/" + urllib.parse.quote(name[:300], safe=""))
        want(status == 404, f"none to delete {name[:40]!r}", (status, answer))


def others_ids(rig):
    """86: another's id, token and link open nothing. (Other keys': tests/integration/test_sandboxes.py.)"""
    with Box(rig) as one, Box(rig) as two:
        one.put("/tmp/secret", b"of one")
        for plane in ({**one.plane, "X-Access-Token": two.plane["X-Access-Token"]},
                      {**one.plane, "X-Access-Token": ""}, {**one.plane, "X-Access-Token": "f" * 40},
                      {k: v for k, v in one.plane.items() if k != "X-Access-Token"}):
            for method, path in (("GET", "/files?path=/tmp/secret"), ("POST", "/process.Process/List"),
                                 ("POST", "/filesystem.Filesystem/ListDir")):
                status, _, answer = rig.service.request(method, path, None if method == "GET" else "{}",
                                                        {**plane, "Content-Type": "application/json"})
                want(status == 401 and b"of one" not in answer, f"{path} is not for others", (status, answer[:200]))
        never = {ask(rig, method, f"/sandboxes/i{20 * '0'}{end}", {} if method == "POST" else None)[0]
                 for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/timeout"), ("POST", "/pause"),
                                     ("POST", "/fork"), ("POST", "/snapshots"), ("GET", "/metrics"))}
        want(never == {404}, "what is not there is always 404", never)


def said(box, n):
    code, out = box.run(f"for j in 1 2 3; do echo {n}-$j; done; exit {n % 7}")
    return code == n % 7 and out == f"{n}-1\n{n}-2\n{n}-3\n"


def at_once(rig):
    """88: many commands in one sandbox, ended while one runs, ended twice, paused and resumed by several."""
    count = 20 if rig.world.emulated else 100
    with Box(rig) as box, concurrent.futures.ThreadPoolExecutor(count) as pool:
        want(all(pool.map(lambda n: said(box, n), range(count))), f"{count} commands at once, none mixed up")
        running = pool.submit(box.run, "echo begun; sleep 600")
        wait_until(lambda: box.run("pgrep -c sleep")[1] == "1\n", 100)
        ended = sorted(pool.map(lambda _: ask(rig, "DELETE", f"/sandboxes/{box.id}")[0], range(5)))
        want(ended == [204, 404, 404, 404, 404], "of five who end it one does", ended)
        want(running.result(DEADLINE_S)[0] is None, "its command's stream breaks off", running.result())
    with Box(rig) as box, concurrent.futures.ThreadPoolExecutor(4) as pool:
        paused = sorted(pool.map(lambda _: ask(rig, "POST", f"/sandboxes/{box.id}/pause", {})[0], range(4)))
        if rig.world.isolation != "microvm":
            want(set(paused) == {501}, "pausing is told to be unsupported", paused)
            return
        want(paused == [204, 409, 409, 409], "of four who pause it one does", paused)
        want(ask(rig, "POST", f"/sandboxes/{box.id}/fork", {})[0] == 409, "a paused one is not forked")
        want(ask(rig, "POST", f"/sandboxes/{box.id}/snapshots", {})[0] == 409, "nor kept")
        resumed = sorted(pool.map(lambda _: ask(rig, "POST", f"/v2/sandboxes/{box.id}/connect", {})[0], range(4)))
        want(resumed == [200, 200, 200, 201], "of four who resume it one does, and all have it", resumed)
        want(box.run("echo alive")[1] == "alive\n", "it lives")


def agent_of(mark):
    """The agent, on the host, of the sandbox in which the marked command runs; None when it cannot be seen."""
    for pid in processes():
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] != [b"sleep", mark]:
            continue
        table = processes()  # again: a moment ago the command may have been a copy of the agent still
        while pid in table and not table[pid][2].startswith("csb-agent"):
            pid = table[pid][0]
        return pid if pid in table else None
    return None


def agent_killed(rig):
    """90: a sandbox whose agent is killed from outside is gone, and says so. What goes on in a machine is not
    seen from here: tests/unit/test_live.c has its death."""
    if rig.world.isolation == "microvm":
        return
    with Box(rig) as box:
        mark = str(600000 + secrets.randbelow(100000)).encode()
        answer = box.start(f"exec sleep {mark.decode()}")
        pid = wait_until(lambda: agent_of(mark), 100)
        want(pid, "its agent is found")
        os.kill(pid, signal.SIGKILL)
        want(wait_until(lambda: ask(rig, "GET", f"/sandboxes/{box.id}")[0] == 404, 100), "it is gone")
        try:
            answer.read()
        except (http.client.IncompleteRead, OSError):
            pass


# Of the row's number.
PARTS = {8: child_outlives, 19: sparse, 21: deep, 31: links_read, 32: swapped, 33: planted, 35: special, 36: names,
         38: left_behind, 70: exposed, 84: strange_templates, 86: others_ids, 88: at_once, 90: agent_killed}
