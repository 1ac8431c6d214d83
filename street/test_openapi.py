"""The served OpenAPI document, judged by a validator that we did not write."""

import pytest
import requests
from openapi_spec_validator import validate

PATHS = [
    "/v1/events", "/v1/publish/{subject}", "/v1/streams", "/v1/streams/{stream}", "/v1/streams/{stream}/messages",
    "/v1/streams/{stream}/messages/{seq}", "/v1/streams/{stream}/purge", "/v1/streams/{stream}/consumers",
    "/v1/streams/{stream}/consumers/{consumer}", "/v1/streams/{stream}/consumers/{consumer}/fetch",
    "/v1/streams/{stream}/consumers/{consumer}/ack", "/metrics", "/healthz", "/readyz",
]


@pytest.fixture(scope="module")
def document(node):
    answer = requests.get(node.url("/openapi.json"), timeout=30)
    assert answer.status_code == 200
    return answer.json()


def test_the_document_is_valid(document):
    validate(document)


def test_the_document_names_every_path(document):
    def shape(path):
        return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))
    named = {shape(path) for path in document["paths"]}
    assert {shape(path) for path in PATHS} <= named
