"""A service's life: created, served, deployed, updated, deleted; and what happens when that fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

# What starts has 20 seconds: the machine may have other things to do.
HTTP = {"protocol": "HTTP", "path": "/healthz", "interval": 1, "timeout": 5, "unhealthy_threshold": 20}


@pytest.fixture
def harbour(cleared_harbour: Any) -> Any:
    return cleared_harbour


def test_a_created_service_runs_and_is_served_over_https(harbour: Any, make_image: Any) -> None:
    digest = harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    service = harbour.service(arn)
    assert service["status"] == "RUNNING"
    assert service["digest"] == digest
    assert service["url"] == f"web.localhost:{harbour.https_port}"
    assert harbour.get("/").text == "one"
    assert [event for event in harbour.events(arn) if "http" not in event] == [
        "Deployment started",
        f"Successfully pulled image 127.0.0.1:5000/web:latest ({digest})",
        "Provisioning instances",
        "Performing health check on port 8080, path /healthz (HTTP)",
        "Successfully routed incoming traffic to the new version",
        "Service status is set to RUNNING",
    ]
    assert harbour.output(arn) == ["version one starts, mode None"]


def test_a_push_deploys_without_losing_a_request(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    with traffic(harbour, clients=4, pause=0.002) as seen:
        eventually(lambda: seen.answers[200, "one"])
        for version in ("two", "three", "four", "five"):
            digest = harbour.push(make_image(VERSION=version))
            assert harbour.ended(arn)["status"] == "SUCCEEDED"
            assert harbour.service(arn)["digest"] == digest
            assert harbour.served() == version
            eventually(lambda version=version: seen.answers[200, version])
        # The old ones are gone in the end, while requests go on.
        eventually(lambda: len(harbour.containers()) == 1 and seen.answers.total() > 200)
    assert seen.bad == {}
    assert harbour.output(arn).count("stopped well") == 4


def test_a_request_under_way_is_answered_by_the_old_version(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create()
    with traffic(harbour, clients=1, path="/slow?seconds=1") as seen:
        eventually(harbour.open_requests)
        harbour.push(make_image(VERSION="two"))
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
        assert harbour.served() == "two"
        eventually(lambda: seen.answers.total() >= 2)
    assert seen.bad == {}
    assert seen.answers[200, "one"] >= 1


def test_long_requests_streams_and_web_sockets_outlive_a_deployment(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create()
    before = harbour.containers().keys()
    tunnel = harbour.client()
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    tunnel.request("GET", "/echo", headers=handshake)
    opened = tunnel.response_class(tunnel.sock, method="GET")
    opened.begin()
    assert (opened.status, opened.headers["Sec-WebSocket-Accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    with ThreadPoolExecutor(2) as clients:
        long = clients.submit(harbour.get, "/hold")
        stream = clients.submit(harbour.get, "/stream")
        eventually(lambda: harbour.open_requests() == 3)
        harbour.push(make_image(VERSION="two"))
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
        assert harbour.served() == "two"
        tunnel.sock.sendall(b"still there?\n")
        assert opened.fp.readline() == b"one still there?\n"
        assert before <= harbour.containers().keys()
        assert not long.done()
        assert not stream.done()
        tunnel.sock.sendall(b"release\n")
        assert opened.fp.readline() == b"one release\n"
        assert long.result().text == "one"
        assert set(stream.result().text.split()) == {"one"}
    opened.close()
    tunnel.close()
    eventually(lambda: not before & harbour.containers().keys())


def test_a_version_that_never_gets_healthy_is_rolled_back_and_the_old_one_serves_all_along(
    harbour: Any, make_image: Any, traffic: Any
) -> None:
    first = harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health={**HTTP, "unhealthy_threshold": 10})
    with traffic(harbour) as seen:
        harbour.push(make_image(VERSION="two", MODE="ill"))
        operation = harbour.ended(arn)
    assert operation["type"] == "START_DEPLOYMENT"
    assert operation["status"] == "ROLLBACK_SUCCEEDED"
    assert operation["reason"] == "the instance is not healthy within 10 s: GET /healthz answered 500"
    assert seen.bad == {}
    assert {body for _, body in seen.answers} == {"one"}
    service = harbour.service(arn)
    assert (service["status"], service["digest"]) == ("RUNNING", first)
    assert "  version two starts, mode ill" in harbour.events(arn)
    assert "version two starts, mode ill" in harbour.output(arn)
    assert len(harbour.containers()) == 1


def test_a_service_that_never_gets_healthy_is_a_failed_creation_that_can_be_deleted(
    harbour: Any, make_image: Any
) -> None:
    harbour.store(make_image(MODE="hangs"))
    arn, operation = harbour.begin(health={"interval": 1, "unhealthy_threshold": 1})
    ended = harbour.ended(arn, operation)
    assert ended["status"] == "FAILED"
    why = "nothing listens on port 8080, for others than 127.0.0.1"
    assert ended["reason"] == f"the instance is not healthy within 1 s: {why}"
    assert harbour.service(arn)["status"] == "CREATE_FAILED"
    assert harbour.containers() == {}
    with pytest.raises(AssertionError, match="ServiceBusyError"):
        harbour.tell("start_deployment", arn=arn)
    harbour.tell("delete_service", arn=arn)
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    assert harbour.service(arn)["status"] == "DELETED"
    harbour.store(make_image(VERSION="good"))
    harbour.create()
    assert harbour.served() == "good"


def test_an_instance_that_exits_fails_the_deployment_at_once_with_its_last_words(
    harbour: Any, make_image: Any
) -> None:
    harbour.store(make_image(MODE="exits"))
    arn, operation = harbour.begin()
    ended = harbour.ended(arn, operation, seconds=20)
    assert ended["reason"] == "the instance exited with code 3"
    assert harbour.events(arn)[-4:] == [
        "  version 1 starts, mode exits",
        "  cannot find the database",
        "Deployment failed: the instance exited with code 3",
        "Service status is set to CREATE_FAILED",
    ]


def test_an_image_that_is_not_there_fails_the_operation_and_says_which(harbour: Any) -> None:
    arn, operation = harbour.begin(image="127.0.0.1:5000/none")
    assert harbour.ended(arn, operation)["reason"] == "there is no image 127.0.0.1:5000/none"


def test_an_update_takes_effect_and_a_bad_one_is_taken_back(harbour: Any, make_image: Any) -> None:
    harbour.store(make_image())
    arn = harbour.create(health=HTTP, environment={"COLOUR": "red"})
    assert harbour.get("/env").json()["COLOUR"] == "red"
    spec = {
        "name": "web", "image": "127.0.0.1:5000/web:latest", "cpu": 512, "memory": 128, "health": HTTP,
        "environment": {"COLOUR": "blue"}, "port": 80,
    }  # fmt: skip
    brief = {**HTTP, "unhealthy_threshold": 2}
    made = harbour.tell("update_service", arn=arn, spec=spec)
    assert made["service"]["status"] == "OPERATION_IN_PROGRESS"
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    environment = harbour.get("/env").json()
    assert (environment["COLOUR"], environment["PORT"]) == ("blue", "80")
    harbour.tell("update_service", arn=arn, spec={**spec, "environment": {"MODE": "ill"}, "health": brief})
    assert harbour.ended(arn)["status"] == "ROLLBACK_SUCCEEDED"
    assert harbour.service(arn)["spec"]["environment"] == {"COLOUR": "blue"}
    assert harbour.get("/env").json()["COLOUR"] == "blue"


def test_a_start_command_replaces_the_images_own(harbour: Any, make_image: Any) -> None:
    harbour.store(make_image())
    arn = harbour.create(start_command="/usr/bin/python3 -S -I -u /app.py")
    assert harbour.output(arn) == ["version 1 starts, mode None"]


def test_pushes_during_a_deployment_wait_and_the_newest_wins(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    slow = harbour.push(make_image(VERSION="two", MODE="waits"))
    harbour.push(make_image(VERSION="three"))
    last = harbour.push(make_image(VERSION="four"))
    with pytest.raises(AssertionError, match="ServiceBusyError"):
        harbour.tell("start_deployment", arn=arn)
    operations = harbour.tell("operations", arn=arn)
    assert [one["status"] for one in operations] == ["PENDING", "IN_PROGRESS", "SUCCEEDED"]
    eventually(lambda: len(harbour.containers()) == 2)
    harbour.let_go()
    assert harbour.ended(arn, operations[0]["id"])["digest"] == last
    operations = harbour.tell("operations", arn=arn)
    assert [one["digest"] for one in operations[:2]] == [last, slow]
    assert harbour.service(arn)["status"] == "RUNNING"
    assert harbour.served() == "four"
    harbour.push(make_image(VERSION="four"))
    harbour.push(make_image(VERSION="other"), tag="next")
    assert len(harbour.tell("operations", arn=arn)) == 3


def test_a_name_is_taken_whatever_its_case_and_calls_for_unknown_services_say_so(
    harbour: Any, make_image: Any
) -> None:
    harbour.store(make_image())
    harbour.create()
    with pytest.raises(AssertionError, match="ServiceExistsError"):
        harbour.begin("Web")
    with pytest.raises(AssertionError, match="NoSuchServiceError"):
        harbour.tell("delete_service", arn="arn:nothing")


def test_a_deleted_service_is_served_no_more_and_its_history_stays(harbour: Any, make_image: Any) -> None:
    harbour.store(make_image())
    kept = harbour.create("kept")
    gone = harbour.create("gone")
    harbour.tell("delete_service", arn=gone)
    assert harbour.ended(gone)["status"] == "SUCCEEDED"
    assert harbour.get("/", "kept", {"Host": "gone.localhost"}).status == 421
    assert harbour.get("/", "kept").status == 200
    assert [service["arn"] for service in harbour.tell("services")] == [kept]
    assert harbour.service(gone)["status"] == "DELETED"
    assert [one["type"] for one in harbour.tell("operations", arn=gone)] == [
        "DELETE_SERVICE",
        "CREATE_SERVICE",
    ]
    assert "stopped well" in harbour.output(gone)
    with pytest.raises(AssertionError, match="ServiceBusyError"):
        harbour.tell("delete_service", arn=gone)


def test_a_paused_service_keeps_its_name_and_comes_back_as_it_was(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    first = harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    with traffic(harbour, clients=1, path="/slow?seconds=0.3") as seen:
        eventually(lambda: seen.answers)
        made = harbour.tell("pause_service", arn=arn)
        assert made["operation"]["type"] == "PAUSE_SERVICE"
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
    assert {status for status, _ in seen.answers} <= {200, 503}
    assert harbour.service(arn)["status"] == "PAUSED"
    assert harbour.containers() == {}
    assert harbour.get("/").status == 503
    with pytest.raises(AssertionError, match="ServiceBusyError"):
        harbour.tell("start_deployment", arn=arn)
    second = harbour.push(make_image(VERSION="two"))
    made = harbour.tell("resume_service", arn=arn)
    assert made["operation"]["type"] == "RESUME_SERVICE"
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    assert harbour.service(arn)["status"] == "RUNNING"
    assert harbour.served() == "one"
    assert {first} == set(harbour.tell("releases", arn=arn))
    harbour.tell("start_deployment", arn=arn)
    assert harbour.ended(arn)["digest"] == second
    assert harbour.events(arn)[-1] == "Service status is set to RUNNING"


def test_an_earlier_digest_is_deployed_again_in_one_call(harbour: Any, make_image: Any, traffic: Any) -> None:
    digests = [harbour.store(make_image(VERSION="one"))]
    arn = harbour.create(health=HTTP)
    for version in ("two", "three"):
        digests.append(harbour.push(make_image(VERSION=version)))
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
    harbour.push(make_image(VERSION="never", MODE="exits"))
    assert harbour.ended(arn)["status"] == "ROLLBACK_SUCCEEDED"
    assert harbour.tell("releases", arn=arn) == digests[::-1]
    assert set(harbour.tell("digests")) == set(digests)
    with traffic(harbour) as seen:
        made = harbour.tell("rollback", arn=arn, digest=digests[0])
        assert made["operation"]["digest"] == digests[0]
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
        assert harbour.served() == "one"
    assert seen.bad == {}
    assert harbour.tell("releases", arn=arn) == [digests[0], digests[2], digests[1]]
    with pytest.raises(AssertionError, match="NoSuchReleaseError"):
        harbour.tell("rollback", arn=arn, digest="sha256:" + "0" * 64)
