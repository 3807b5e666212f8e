"""A small web server with the ways in which downloads go wrong, for tests/test_download.sh.

    http_server.py FOLDER PORT_FILE LOG

Serves FOLDER on 127.0.0.1; the port is written to PORT_FILE. The first part of a path is how to answer:
ok, norange (ignores Range), cut (the first answer for a path ends halfway), slow, endless, wrong (one byte
changed), empty, redirect (to ok), loop, file (redirect to a local file). LOG has a line a request: mode,
path, Range. Ends by itself after ten minutes.
"""
import http.server
import os
import sys
import threading
import time

folder, port_file, log = sys.argv[1:4]
cut_before = set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def redirect(self, to):
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.close_connection = True
        path = self.path.partition("//")[2].partition("/")[2] if "://" in self.path[:8] else self.path
        mode, _, rest = path.lstrip("/").partition("/")  # a proxy is asked for http://HOST/PATH
        wanted = self.headers.get("Range", "-")
        with open(log, "a") as f:
            f.write(f"{mode} {rest} {wanted}\n")
        if mode == "redirect":
            return self.redirect("/ok/" + rest)
        if mode == "loop":
            return self.redirect(self.path)
        if mode == "file":
            return self.redirect("file:///etc/hostname")
        if mode == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        served = os.path.join(folder, os.path.basename(rest.partition("?")[0]))
        if mode == "missing" or not os.path.isfile(served):
            self.send_response(404)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"gone\n")
            return
        with open(served, "rb") as f:
            data = f.read()
        if mode == "wrong":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if mode == "empty":
            data = b""
        begin = 0
        if wanted.startswith("bytes=") and mode != "norange":
            begin = int(wanted[6:].split("-")[0])
            if begin >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[begin:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mode == "cut" and rest not in cut_before:
            cut_before.add(rest)
            body = body[: len(body) // 2]
        try:
            if mode == "slow":
                for i in range(0, len(body), 4096):
                    self.wfile.write(body[i : i + 4096])
                    self.wfile.flush()
                    time.sleep(0.2)
            else:
                self.wfile.write(body)
        except OSError:
            pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
with open(port_file + ".new", "w") as f:
    f.write(str(server.server_address[1]))
os.rename(port_file + ".new", port_file)
threading.Timer(600, lambda: os._exit(0)).start()
server.serve_forever()
