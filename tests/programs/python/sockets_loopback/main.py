# SPDX-License-Identifier: Apache-2.0
"""TCP, UDP, unix and pair sockets on this machine alone, with select and a threaded server."""
import os
import select
import socket
import socketserver
import struct
import threading


class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.decode().upper().encode())


with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Upper) as server:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for words in (["hello", "grüße"], ["x" * 50_000]):
        with socket.create_connection(server.server_address) as s:
            s.sendall("".join(w + "\n" for w in words).encode())
            s.shutdown(socket.SHUT_WR)
            got = b""
            while part := s.recv(4096):
                got += part
            print(len(got), got[:20].decode())
    server.shutdown()
udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab"]
for u in udp:
    u.bind(("127.0.0.1", 0))
udp[0].sendto(struct.pack("!HH", 7, 9), udp[1].getsockname())
data, sender = udp[1].recvfrom(100)
print(struct.unpack("!HH", data), sender == udp[0].getsockname())
path = "/tmp/csb-test.sock"
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    peer, _ = listener.accept()
    r, w = os.pipe()
    socket.send_fds(client, [b"fd"], [w])
    message, fds, _, _ = socket.recv_fds(peer, 10, 1)
    os.write(fds[0], b"through a passed descriptor")
    print(message, os.read(r, 100))
    client.close()
    peer.close()
os.unlink(path)
a, b = socket.socketpair()
a.setblocking(False)
try:
    a.recv(1)
except BlockingIOError:
    print("would block")
b.send(b"!")
print([s is a for s in select.select([a], [], [], 1)[0]], a.recv(1))
poll = select.poll()
poll.register(a, select.POLLIN)
b.close()
print([bool(e & select.POLLHUP) for _, e in poll.poll(100)])
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    try:
        socket.create_connection(s.getsockname(), timeout=1)
    except ConnectionRefusedError as e:
        print(e)
print(socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4], socket.htons(1))
