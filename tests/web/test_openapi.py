"""The description of the API tells of what there is, and of nothing else."""

import re

import pytest
from kit import drop, until

from jobspool.job import WORDS
from jobspool.web import api, app, openapi


@pytest.fixture(scope="module")
def described():
    return openapi.description("1")


def test_each_route_is_described_and_nothing_else(described):
    told = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert told == {(route.method, api.PREFIX + route.path) for route in api.ROUTES}
    served = {(method, path) for path, methods in app._by_path().items() for method in methods}
    assert served == {(route.method, route.path) for route in api.ROUTES}


def test_the_page_serves_the_description(web, described):
    answer = web.get("/openapi.json")
    assert (answer.status, answer.json["paths"], answer.json["openapi"]) == (200, described["paths"], "3.1.0")


def test_each_reference_leads_somewhere(described):
    def references(part):
        if isinstance(part, dict):
            yield from ([part["$ref"]] if "$ref" in part else [])
            for inner in part.values():
                yield from references(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from references(inner)

    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(references(described)) <= known


def test_each_operation_has_its_own_name(described):
    names = [one["operationId"] for methods in described["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))


def test_the_words_of_a_job_are_those_of_its_file(described):
    assert set(described["components"]["schemas"]["Record"]["properties"]) == set(WORDS)


def test_each_route_that_looks_answers_as_it_is_described(web, spool, described):
    drop(spool, "x", {"command": "true"}, "dead")
    until(lambda: web.get("/status").json["counts"]["dead"], "the look")
    with open(spool.log_path("x", 1, "out"), "wb") as file:
        file.write(b"hallo\n")
    filled = {"id": "x", "number": "1", "stream": "out"}
    for path, methods in described["paths"].items():
        if "get" not in methods or path.endswith("/follow"):
            continue
        query = "?q=h" if path.endswith("search") else ""
        answer = web.ask("GET", re.sub(r"\{(\w+)\}", lambda found: filled[found[1]], path) + query)
        kinds = methods["get"]["responses"]["200"]["content"]
        assert (path, answer.status, answer.headers["content-type"].partition(";")[0] in kinds) == (
            path,
            200,
            True,
        ) or path.endswith("/events")


def test_rows_have_what_is_described_and_nothing_else(web, spool, described):
    spool.add("true", id="x")
    [row] = until(lambda: web.get("/jobs").json["jobs"], "the job")
    assert set(row) == set(described["components"]["schemas"]["Row"]["properties"])


def test_what_is_not_described_is_not_there(web):
    for path in ("/nix", "/jobs/x/y/z", "/jobs/", "/"):
        assert web.get(path).status in (404, 405)
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        answer = web.ask(method, "/api/v1/status")
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
    assert web.ask("POST", "/").status in (404, 405)


def test_a_look_at_the_head_has_no_body(web, spool):
    spool.add("true", id="x")
    until(lambda: web.get("/jobs").json["jobs"], "the job")
    for path in ("/api/v1/status", "/api/v1/jobs/x", "/", "/api/v1/events", "/static/index.html"):
        answer = web.ask("HEAD", path, headers={"Accept": "text/event-stream"})
        assert (answer.status, answer.body) == (200, b"")
