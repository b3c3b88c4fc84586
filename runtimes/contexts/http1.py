# SPDX-License-Identifier: Apache-2.0
"""A small HTTP/1.1 server side over asyncio: bodies with a length or chunked, one request at a time
per connection, answers whole or as a stream of chunks, and word of a client that went away.

Everything a client may make large is capped: HEAD_MAX, BODY_MAX."""
import asyncio
import json

HEAD_MAX = 64 << 10
BODY_MAX = 32 << 20
WRITE_HIGH = 1 << 20  # bytes that wait for a slow client before its source is held back

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
           411: "Length Required", 413: "Content Too Large", 431: "Request Header Fields Too Large",
           500: "Internal Server Error", 503: "Service Unavailable"}


class HttpError(Exception):
    """An answer with a plain text."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status
        self.text = text


class Gone(Exception):
    """The client closed the connection."""


class Request:
    def __init__(self, method, target, headers):
        self.method = method
        self.path = target.split("?", 1)[0]
        self.headers = headers
        self.body = b""

    def json(self):
        """The body as an object; an empty body is an empty one."""
        if not self.body.strip():
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise HttpError(400, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise HttpError(400, "the body is not a JSON object")
        return value


def parse_head(data):
    """A request of its head's bytes, or ValueError."""
    first, *lines = data.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("version")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError("header")
        headers[name.lower()] = value.strip()
    request = Request(method, target, headers)
    request.keep = headers.get("connection", "").lower() != "close" and version != "HTTP/1.0"
    return request


class Connection(asyncio.Protocol):
    """One client. handler(request, connection) is awaited for each request and answers by reply()
    or by start_stream(), send() and end_stream(). on_gone and on_room are set by who streams."""

    def __init__(self, handler):
        self.handler = handler
        self.buffer = bytearray()
        self.waiter = None
        self.gone = False
        self.full = False
        self.on_gone = None
        self.on_room = None
        self.streaming = False

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        self.task = asyncio.get_running_loop().create_task(self.serve())

    def data_received(self, data):
        self.buffer += data
        if len(self.buffer) > HEAD_MAX + BODY_MAX:
            self.transport.pause_reading()
        self.wake()

    def eof_received(self):
        return False

    def connection_lost(self, _error):
        self.gone = True
        self.wake()
        if self.on_gone:
            self.on_gone()

    def pause_writing(self):
        self.full = True

    def resume_writing(self):
        self.full = False
        if self.on_room:
            self.on_room()

    def wake(self):
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    async def more(self):
        if self.gone:
            raise Gone
        self.transport.resume_reading()
        self.waiter = asyncio.get_running_loop().create_future()
        await self.waiter
        if self.gone:
            raise Gone

    def take(self, count):
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    async def take_until(self, mark, limit, status):
        start = 0
        while (at := self.buffer.find(mark, start)) < 0:
            if len(self.buffer) > limit:
                raise HttpError(status, "too long")
            start = max(0, len(self.buffer) - len(mark) + 1)
            await self.more()
        data = self.take(at)
        del self.buffer[: len(mark)]
        return data

    async def take_exactly(self, count):
        while len(self.buffer) < count:
            await self.more()
        return self.take(count)

    async def take_chunked(self):
        parts, total = [], 0
        while True:
            line = (await self.take_until(b"\r\n", 1024, 400)).split(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise HttpError(400, "a chunk's size is wrong") from None
            total += size
            if size < 0 or total > BODY_MAX:
                raise HttpError(413, "the body is too large")
            if size == 0:
                while await self.take_until(b"\r\n", HEAD_MAX, 431):
                    pass
                return b"".join(parts)
            parts.append(await self.take_exactly(size))
            await self.take_until(b"\r\n", 0, 400)

    async def take_body(self, headers):
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "0")
        if not chunked and not length.isdecimal():
            raise HttpError(400, "content-length is not a number")
        if not chunked and int(length) > BODY_MAX:
            raise HttpError(413, "the body is too large")
        if headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await (self.take_chunked() if chunked else self.take_exactly(int(length)))

    async def serve_one(self):
        while self.buffer.startswith(b"\r\n"):
            del self.buffer[:2]
        head = await self.take_until(b"\r\n\r\n", HEAD_MAX, 431)
        try:
            request = parse_head(head)
        except ValueError:
            raise HttpError(400, "the request is not HTTP/1.1") from None
        request.body = await self.take_body(request.headers)
        keep = request.keep
        try:
            await self.handler(request, self)
        except HttpError as error:
            self.reply(error.status, error.text, "text/plain; charset=utf-8")
        return keep

    async def serve(self):
        try:
            while await self.serve_one():
                pass
        except HttpError as error:
            self.reply(error.status, error.text, "text/plain; charset=utf-8", close=True)
        except Gone:
            return
        finally:
            self.transport.close()

    def head(self, status, fields):
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}", *fields, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def reply(self, status, value, kind="application/json", close=False):
        """A whole answer: text as it is, anything else as JSON."""
        if kind == "application/json":
            value = json.dumps(value)
        data = value.encode()
        fields = [f"content-type: {kind}", f"content-length: {len(data)}"]
        if close:
            fields.append("connection: close")
        self.write(self.head(status, fields) + data)

    def start_stream(self, kind, first=b""):
        """Headers of a streamed answer, and its first bytes if there are any already."""
        fields = [f"content-type: {kind}", "transfer-encoding: chunked", "cache-control: no-store"]
        self.write(self.head(200, fields) + self.chunk(first))

    @staticmethod
    def chunk(data):
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

    def send(self, data, last=False):
        """Bytes of a streamed answer, in one chunk; with `last`, its end too."""
        self.write(self.chunk(data) + (b"0\r\n\r\n" if last else b""))

    def write(self, data):
        if not self.gone:
            self.transport.write(data)
