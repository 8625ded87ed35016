"""A stand-in for the server of Weights & Biases: answers what a run asks, and keeps the history that it is sent."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROJECT = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}


class Server(ThreadingHTTPServer):
    """`history` maps a run's id to what each of its steps holds, `ends` to its exit code, `sent` to the steps in the
    order in which they came, `config` to its configuration. `views` maps a workspace's name to how it was saved."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.history: dict[str, dict[int, dict]] = {}
        self.ends: dict[str, int] = {}
        self.sent: dict[str, list[int]] = {}
        self.config: dict[str, dict] = {}
        self.views: dict[str, dict] = {}
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that has been killed closes its connections."""

    def answer(self, operation: str, asked: dict) -> dict:
        run = str(asked.get("name"))
        bucket = {"id": run, "name": run, "displayName": run, "config": "{}", "project": PROJECT}
        if operation == "UpsertBucket":
            inserted = run not in self.history
            self.history.setdefault(run, {})
            self.config[run] = self.config.get(run, {}) | json.loads(asked.get("config") or "{}")
            return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}
        if "Resume" in operation:
            known = self.history.get(run)
            if known is None:
                return {"model": {**PROJECT, "bucket": None}}
            last = json.dumps(known[max(known)]) if known else "{}"
            lines = {"historyLineCount": len(known), "eventsLineCount": 0, "logLineCount": 0}
            tails = {"historyTail": json.dumps([last]), "eventsTail": "[]", "summaryMetrics": last}
            return {"model": {**PROJECT, "bucket": {**bucket, **lines, **tails, "tags": [], "wandbConfig": '{"t": 1}'}}}
        if "Viewer" in operation:
            return {"viewer": {"id": "u", "entity": "e", "username": "e", "teams": {"edges": []}, "flags": "{}"}}
        if operation == "View":
            found = [self.views[name] for name in [asked["viewName"]] if name in self.views]
            return {"project": {"allViews": {"edges": [{"node": {"id": "v", **view}} for view in found]}}}
        if operation == "UpsertView2":
            inserted = asked["name"] not in self.views
            self.views[asked["name"]] = asked
            return {"upsertView": {"view": {"id": "v", "name": asked["name"]}, "inserted": inserted}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/file"} for name in asked["files"]]
            return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}
        return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer: dict = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            assert operation is not None
            answer = {"data": self.server.answer(operation[1], asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            run, stream = self.path.split("/")[-2], json.loads(body)
            for line in stream.get("files", {}).get("wandb-history.jsonl", {}).get("content", []):
                row = json.loads(line)
                self.server.history.setdefault(run, {})[row["_step"]] = row
                self.server.sent.setdefault(run, []).append(row["_step"])
            if stream.get("complete"):
                self.server.ends[run] = stream["exitcode"]
        self._send(json.dumps(answer).encode())

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._send(b"")

    def _send(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
