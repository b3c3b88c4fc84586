# SPDX-License-Identifier: Apache-2.0
import http.server
import json
import threading
import urllib.error
import urllib.parse
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body, sort_keys=True).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Path", urllib.parse.quote(self.path))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        self.answer(200 if url.path == "/q" else 404, {"path": url.path, "query": query})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, {"bytes": len(body), "sum": sum(body)})

    def log_message(self, form, *args):
        log.append(args[:2])


log = []
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
with urllib.request.urlopen(base + "/q?" + urllib.parse.urlencode({"a": "1 &", "ü": "é"})) as r:
    print(r.status, r.headers["X-Path"], json.load(r))
print(json.load(urllib.request.urlopen(base + "/up", data=bytes(range(256)) * 100)))
try:
    urllib.request.urlopen(base + "/missing")
except urllib.error.HTTPError as e:
    print(e.code, e.reason, e.read().decode())
server.shutdown()
print(log)
