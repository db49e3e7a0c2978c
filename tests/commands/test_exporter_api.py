"""What commands ask a running exporter over HTTP."""

import gc

import pytest

from exporter.commands.exporter_api import ExporterApi
from exporter.errors import ExporterError
from lab.fakes import answering
from lab.servers import free_port


def test_refused_request_names_the_remedy_and_leaves_no_connection() -> None:
    with answering(401) as (url, _):
        with pytest.raises(ExporterError, match=r"answers 401.*give them as http://USER:PASSWORD@") as refused:
            ExporterApi(url).events([])
        cycle = [refused.value]
        cycle.append(cycle)  # type: ignore[arg-type]
        del refused, cycle
        gc.collect()  # a socket that nobody closed is a warning, and warnings are errors


def test_exporter_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(ExporterError, match=r"cannot reach the exporter at .*refused.* \(see --exporter.url\)"):
        ExporterApi(f"http://127.0.0.1:{free_port()}").events([])
