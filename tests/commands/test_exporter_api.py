"""What commands ask a running exporter over HTTP."""

import gc
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from exporter.commands.exporter_api import ExporterApi
from exporter.errors import ExporterError
from servers import free_port


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        pass


def test_refused_request_names_the_remedy_and_leaves_no_connection() -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        api = ExporterApi(f"http://127.0.0.1:{server.server_port}")
        try:
            with pytest.raises(ExporterError, match=r"answers 401.*give them as http://USER:PASSWORD@") as refused:
                api.events([])
            cycle = [refused.value]
            cycle.append(cycle)  # type: ignore[arg-type]
            del refused, cycle
            gc.collect()  # a socket that nobody closed is a warning, and warnings are errors
        finally:
            server.shutdown()
            thread.join()


def test_exporter_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(ExporterError, match=r"cannot reach the exporter at .*refused.* \(see --exporter.url\)"):
        ExporterApi(f"http://127.0.0.1:{free_port()}").events([])
