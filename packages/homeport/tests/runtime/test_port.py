"""A service's life: created, served, deployed, updated, deleted; and what happens when that fails."""

from __future__ import annotations

from typing import Any

HTTP = {"protocol": "HTTP", "path": "/healthz", "interval": 1, "timeout": 1, "unhealthy_threshold": 2}


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
