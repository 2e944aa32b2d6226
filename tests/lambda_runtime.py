"""AWS Lambda's Runtime API on this machine, for AWS's own runtime client: events go in, answers come out.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import contextlib
import dataclasses
import http.server
import json
import os
import pathlib
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

VERSION = "/2018-06-01/runtime"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back for one event.

    Attributes:
        place: where the client posted it: ``"response"``, or ``"error"`` if the event did not reach the
            handler, or broke it.
        content: as JSON was read.
        seconds: from the event's being there to the answer.
    """

    place: str
    content: Any
    seconds: float

    @property
    def status(self) -> int:
        return self.content["statusCode"]

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.content["body"])


@dataclasses.dataclass(frozen=True)
class Function:
    """A function in a process of its own, waiting for events."""

    process: subprocess.Popen
    log: pathlib.Path
    seconds: float  # from the start of the process to its asking for the first event: a cold start
    _events: queue.Queue
    _answers: queue.Queue

    def __call__(self, event: object, *, timeout: float = 60) -> Answer:
        """Send one event, or JSON's bytes as they are, and wait for the answer."""
        content = event if isinstance(event, bytes) else json.dumps(event).encode()
        number = uuid.uuid4().hex
        start = time.perf_counter()
        self._events.put((number, content))
        place, answered, body = self._wait(timeout)
        assert answered == number, "the answer is to another event"
        return Answer(place, json.loads(body), time.perf_counter() - start)

    def memory(self, which: str = "VmHWM") -> float:
        """In MB (Linux): the most that it has ever held, or, with ``VmRSS``, what it holds now."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{which}:")[1].split()[0]) / 1000

    def _wait(self, timeout: float) -> tuple[str, str, bytes]:
        for _ in range(int(10 * timeout)):
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=0.1)
            if self.process.poll() is not None:
                raise ChildProcessError(f"The function has ended:\n{self.log.read_text()}")
        raise TimeoutError(f"No answer within {timeout} seconds:\n{self.log.read_text()}")


@contextlib.contextmanager
def running(python: pathlib.Path, bundle: pathlib.Path, scratch: pathlib.Path) -> Iterator[Function]:
    """Start a bundle's function as Lambda does, by an interpreter that has AWS's client; end it at the end.

    Args:
        scratch: the only folder where the function may write, as /tmp is at AWS. Its log stands beside it.
    """
    events: queue.Queue = queue.Queue()
    answers: queue.Queue = queue.Queue()
    asked = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # a reply goes out in one piece: in two, the second would wait for an acknowledgement

        def do_GET(self) -> None:
            if self.path != f"{VERSION}/invocation/next":
                return self._reply(404, b"{}", {})
            asked.set()
            item = events.get()
            if item is None:  # the end
                self.close_connection = True
                return
            number, content = item
            headers = {
                "Lambda-Runtime-Aws-Request-Id": number,
                "Lambda-Runtime-Deadline-Ms": str(int(1000 * (time.time() + 29))),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:f",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
            }
            self._reply(200, content, headers)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            *_, number, place = self.path.split("/")  # .../invocation/NUMBER/response, or .../init/error
            answers.put((place, number, content))
            self._reply(202, b"{}", {})

        def _reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            lengths = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            for name, value in (headers | lengths).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            pass  # the client is ended while it waits for an event

    log = scratch.with_suffix(".log")
    scratch.mkdir(parents=True, exist_ok=True)
    with Server(("127.0.0.1", 0), Handler) as server, log.open("wb") as file:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "classifier",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/classifier",
            "AWS_LAMBDA_LOG_STREAM_NAME": "1",
            "AWS_REGION": "eu-central-1",
            "LAMBDA_TASK_ROOT": str(bundle),
            "LANG": "en_US.UTF-8",
            "TMPDIR": str(scratch),
            "PYTHONDONTWRITEBYTECODE": "1",  # AWS's folder of the function cannot be written
        }
        start = time.perf_counter()
        process = subprocess.Popen(
            [python, "-m", "awslambdaric", "handler.handler"],
            cwd=bundle,
            env=environment | {name: os.environ[name] for name in ("PATH",) if name in os.environ},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        function = Function(process, log, 0.0, events, answers)
        try:
            while not asked.wait(0.01):
                if process.poll() is not None or time.perf_counter() > start + 60:
                    raise ChildProcessError(f"The function does not start:\n{log.read_text()}")
            yield dataclasses.replace(function, seconds=time.perf_counter() - start)
        finally:
            process.kill()
            process.wait()
            events.put(None)
            server.shutdown()
