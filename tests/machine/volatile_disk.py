# SPDX-License-Identifier: Apache-2.0
"""A disk with a volatile cache, for cuts of the power: what the machine wrote and did not flush is kept, lost or torn
at a sector, each write as the dice fall. It is served to QEMU by the NBD protocol (newstyle, without options) over a
socket, and lives in memory."""
import os
import pathlib
import socket
import struct
import threading

SECTOR = 512
MAGIC, OPTION_MAGIC = 0x4E42444D41474943, 0x49484156454F5054
REPLY_MAGIC, REQUEST, REPLY = 0x3E889045565A9, 0x25609513, 0x67446698
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
EXPORT_NAME, ABORT, UNSUPPORTED = 1, 2, 0x80000001
HAS_FLAGS, SEND_FLUSH = 1, 4
READ, WRITE, DISCONNECT, FLUSH = range(4)
EINVAL = 22


class VolatileDisk:
    """`image`: a file with what the disk holds at first. `path`: where its socket is to be."""

    def __init__(self, image, path, dice):
        self._durable = bytearray(pathlib.Path(image).read_bytes())
        self._now = bytearray(self._durable)
        self._unflushed = []  # (offset, bytes), in order
        self._dice = dice
        self._lock = threading.Lock()
        self._requests_left = None  # until it stands still
        self.standing = threading.Event()
        self._cut = threading.Event()
        self.flushes = self.kept = self.lost = self.torn = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self.url = f"nbd:unix:{path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def stand_still(self, requests):
        """So many writes and flushes from now, not answering the last: the moment for a cut. `standing` is set
        then, and something is not flushed."""
        with self._lock:
            self._requests_left = requests

    def cut(self):
        """The power is gone: call it when the machine is."""
        self._cut.set()
        with self._lock:
            self._requests_left = None
            self.standing.clear()
            for offset, data in self._unflushed:
                part = self._dice.choice((0, len(data), self._dice.randrange(0, len(data) // SECTOR + 1) * SECTOR))
                self._durable[offset:offset + part] = data[:part]
                self.kept += part == len(data)
                self.lost += part == 0
                self.torn += 0 < part < len(data)
            self._unflushed.clear()
            self._now = bytearray(self._durable)

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                self._cut.clear()
                try:
                    self._negotiate(peer)
                    while self._serve(peer):
                        pass
                except (OSError, EOFError):
                    pass  # QEMU was killed

    @staticmethod
    def _read(peer, count):
        data = bytearray()
        while len(data) < count:
            part = peer.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def _negotiate(self, peer):
        peer.sendall(struct.pack(">QQH", MAGIC, OPTION_MAGIC, FIXED_NEWSTYLE | NO_ZEROES))
        flags, = struct.unpack(">I", self._read(peer, 4))
        while True:
            _, option, length = struct.unpack(">QII", self._read(peer, 16))
            self._read(peer, length)
            if option == EXPORT_NAME:
                break
            peer.sendall(struct.pack(">QIII", REPLY_MAGIC, option, 1 if option == ABORT else UNSUPPORTED, 0))
            if option == ABORT:
                raise EOFError
        peer.sendall(struct.pack(">QH", len(self._now), HAS_FLAGS | SEND_FLUSH) +
                     (b"" if flags & NO_ZEROES else bytes(124)))

    def _counts_down(self):
        if self._requests_left is None:
            return False
        self._requests_left -= 1
        return self._requests_left <= 0

    def _serve(self, peer):
        magic, _, kind, handle, offset, length = struct.unpack(">IHHQQI", self._read(peer, 28))
        if magic != REQUEST or kind == DISCONNECT:
            return False
        data = self._read(peer, length) if kind == WRITE else b""
        answer, error, stands = b"", 0, False
        with self._lock:
            if kind == FLUSH:
                stands = bool(self._unflushed) and self._counts_down()
            if kind == FLUSH and not stands:
                for at, part in self._unflushed:
                    self._durable[at:at + len(part)] = part
                self._unflushed.clear()
                self.flushes += 1
            elif kind == FLUSH:
                pass
            elif offset + length > len(self._now) or kind not in (READ, WRITE):
                error = EINVAL
            elif kind == WRITE:
                self._now[offset:offset + length] = data
                self._unflushed.append((offset, data))
                stands = self._counts_down()
            else:
                answer = bytes(self._now[offset:offset + length])
        if stands:
            self.standing.set()
            self._cut.wait()
            return False
        peer.sendall(struct.pack(">IIQ", REPLY, error, handle) + answer)
        return True


def make_ext4(path, mib):
    """An empty file system of that size in a file."""
    from subprocess import run
    with open(path, "wb") as image:
        image.truncate(mib << 20)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-J", "size=4", "-E", "lazy_itable_init=0,nodiscard", path],
        check=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
