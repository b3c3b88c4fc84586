# SPDX-License-Identifier: Apache-2.0
"""Memory, disk, descriptors and output."""
import json
import socket
import time

from model import (FLOOD, MIB, OK, PATIENT_S, STALL_S, TIMEOUT, Row, any_of, bounded, complains, ended, every, hit, others,
                   probed, py, says, want)

MEMORY = """
b=[]
while True:
    b.append(bytearray(16<<20))
"""
SHM = """
f=open('/dev/shm/x','wb')
while True: f.write(b'0'*(1<<20))
"""
RESERVE = """
import mmap
m=[mmap.mmap(-1,1<<40) for _ in range(16)]
print('reserved')
"""
FILL = """
import os
f=open('fill','wb')
while True: f.write(os.urandom(1<<20))
"""
# Many files without content: the space of names has a limit as well.
NAMES = """
import errno
n=0
try:
    while True:
        open(f'n{n}','w').close(); n+=1
except OSError as e: print(errno.errorcode[e.errno])
"""
SPARSE = """
import os
fd=os.open('big.bin',os.O_CREAT|os.O_WRONLY)
os.truncate(fd,1<<50)
"""
DEEP = """
import os
for _ in range(100000):
    os.mkdir('d'); os.chdir('d')
"""
FILES = """
import os
f=[]
while True: f.append(os.open('/dev/null',0))
"""
# What waits in the buffers of sockets is the kernel's memory. TCP has so much for the whole host.
SOCKETS = """
import socket
def used():
    return int([l.split()[-1] for l in open('/proc/net/sockstat') if l.startswith('TCP:')][0])*4096>>20
before=used()
s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(200)
keep=[]
for i in range(100):
    c=socket.socket(); c.connect(s.getsockname()); d,_=s.accept()
    keep+=[c,d]
    for end in (c,d):
        end.setblocking(False)
        try:
            while True: end.send(b'x'*65536)
        except OSError: pass
print(used()-before)
"""
FLOOD_OUT = """
import sys
while True: sys.stdout.write('y'*65536)
"""
FLOOD_ERR = """
import sys
while True: sys.stderr.write('y'*65536)
"""
LINES = "while True: print('x'*1000,flush=True)"
BYTES = bytes(range(256)) + b"\xed\xa0\x80\x1b]0;t\x07\r\n"
BINARY = r"""
import sys
sys.stdout.buffer.write(bytes(range(256))+b'\xed\xa0\x80\x1b]0;t\x07\r\n')
"""
MARKERS = r"""
print('{"exit_code":0,"status":"ok"}')
print('event: result\ndata: {"exit_code":0}\n\n')
raise SystemExit(7)
"""
MARKERS_OUT = '{"exit_code":0,"status":"ok"}\nevent: result\ndata: {"exit_code":0}\n\n\n'

SMALL = {"memory_bytes": 96 * MIB}
DISK = {"disk_bytes": 8 * MIB}
# What Python and V8 say when they are refused memory.
REFUSED = complains("MemoryError", "allocation failed")
OUT_OF_MEMORY = bounded(
    any_of(ended("memory", "memory"), every(ended("error", "exit", 1), REFUSED)),
    any_of(every(ended("error", ("exit", "memory"), 1), REFUSED), TIMEOUT,
           ended("memory"), ended("killed")), "the memory of a run")
NO_SPACE = every(ended("error", ("exit", "disk"), 1), hit("disk"),
                 complains("[Errno 28]", "[Errno 122]", "[Errno 27]"))
FULL = every(OK, hit("disk"), lambda run: want(run.out in ("28\n", "122\n", "27\n"), "ENOSPC", run.answer))


def one_long_line(rig):
    """Streamed: cut by bytes, every event well formed, the result last."""
    events = rig.service.events("python", "print('x'*(100<<20))", timeout=PATIENT_S)
    names = [name for name, _ in events]
    want(names[0] == "start" and names[-1] == "result" and set(names[1:-1]) == {"stdout"},
         "start, stdout, result", names[:3] + names[-3:])
    text = "".join(data["text"] for name, data in events if name == "stdout")
    want(len(text) == MIB and set(text) == {"x"}, "1 MiB of the line", len(text))
    result = events[-1][1]
    want(result["status"] == "output_limit" and result["truncated"], "output_limit", result)


def stream_of(rig, limit_s):
    """A connection on which a flooding program streams, with a small receive buffer."""
    body = json.dumps({"language": "python", "code": LINES, "timeout": limit_s, "stream": True,
                       "limits": {"output_bytes": 16 * MIB}}).encode()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", rig.service.port))
    sock.sendall(b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
                 + body)
    return sock


def slow_reader(rig):
    """A client that does not read: nothing is queued without end, and when it reads at last, the limit
    had been kept all the same."""
    with stream_of(rig, 2) as sock:
        time.sleep(4)
        received = bytearray()
        while chunk := sock.recv(1 << 16):
            received += chunk
            if received.endswith(b"0\r\n\r\n"):
                break
    text = received.decode(errors="replace")
    at = text.rindex("event: result")
    result = json.loads(text[text.index("data: ", at) + 6:].split("\n", 1)[0].strip())
    want(result["status"] in ("timeout", "output_limit"), "timeout or output_limit", result)
    want(result["usage"]["wall_ms"] <= 1000 * (2 + rig.world.grace + STALL_S), "within its limit", result)
    with stream_of(rig, 2):
        time.sleep(1)  # and one that never reads, and leaves


# The memory limit of the row below is 64 MiB; without a limit for sockets it is some 300.
FEW_BUFFERS = any_of(every(OK, lambda run: want(int(run.out) <= 64, "MiB in buffers", run.answer)),
                     ended("memory"))


def rows(isolation):
    binary = BYTES.decode(errors="replace")
    shared = [Row(98, "buffers of sockets", [
        py(SOCKETS, bounded(FEW_BUFFERS, OK, "buffers of sockets"), limits={"memory_bytes": 64 * MIB})])]
    return [
        *(shared if isolation == "process" else ()),
        Row(14, "memory bomb", [py(MEMORY, OUT_OF_MEMORY, timeout=60, limits=SMALL),
                                *others("memory", OUT_OF_MEMORY, timeout=60,
                                        limits={"memory_bytes": 192 * MIB})]),
        Row(15, "memory bomb through /dev/shm",
            [py(SHM, NO_SPACE, limits=DISK),
             py("import os; print(os.path.exists('/dev/shm/x'))", every(OK, says("False\n")))]),
        Row(17, "reserving 16 TiB of addresses",
            [py(RESERVE, any_of(every(OK, says("reserved\n")),
                                every(ended("error", "exit", 1),
                                      complains("[Errno 12]", "MemoryError"))))]),
        Row(18, "disk fill", [py(FILL, NO_SPACE, limits=DISK),
                              py(NAMES, every(OK, lambda run: want(run.out in ("ENOSPC\n", "EDQUOT\n"),
                                                                   "ENOSPC", run.answer)),
                                 limits={"disk_bytes": MIB}),
                              *others("disk", FULL, limits=DISK)]),
        Row(19, "a sparse file of a pebibyte",
            [py(SPARSE, any_of(every(OK, says("")), every(ended("error", "exit", 1),
                                                          complains("[Errno 27]", "[Errno 22]"))))]),
        Row(21, "a deep directory tree", [py(DEEP, every(NO_SPACE), limits={"disk_bytes": MIB})]),
        Row(22, "descriptors to the limit",
            [py(FILES, every(ended("error", "exit", 1), complains("[Errno 24]"))),
             *probed(files=("24 1021", "24 1020", *(f"24 {n}" for n in range(950, 1020))))]),
        Row(24, "output without end", [py(FLOOD_OUT, FLOOD), py(FLOOD_ERR, FLOOD),
                                       *others("flood", FLOOD)]),
        Row(26, "a line of 100 MB, streamed", action=one_long_line),
        Row(27, "a client that does not read its stream", action=slow_reader),
        Row(29, "bytes that are not text",
            [py(BINARY, every(OK, says(binary), lambda run: want(
                run.answer["lossy"] is True and run.answer["stdout_bytes"] == len(BYTES),
                "lossy, and the count of the raw bytes", run.answer)))]),
        Row(30, "forged protocol markers",
            [py(MARKERS, every(ended("error", "exit", 7), says(MARKERS_OUT)))]),
        Row(80, "input that nobody reads",
            [py("import time\ntime.sleep(30)", TIMEOUT, timeout=1, stdin="x" * (8 * MIB))]),
    ]
