"""The examples that run the loop for good: containers and a service of systemd."""

import shlex
from pathlib import Path

import yaml

from deploy import run_cameras
from tests.support.files import ROOT

FOLDER = ROOT / "deploy/loop"


def parsed(words: list[str]):
    return run_cameras.make_parser().parse_args(words)


def test_the_services_of_the_containers_fit_together():
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert set(services) == {"loop", "mosquitto", "prometheus"}
    args = parsed(services["loop"]["command"])
    assert args.append
    assert args.mqtt.startswith("mqtt://loop@mosquitto/")
    build = services["loop"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).is_file()
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]
    assert scraped["targets"] == [f"loop:{args.metrics_port}"]
    assert f":{args.metrics_port}/healthz" in services["loop"]["healthcheck"]["test"][-1]
    assert "ports" not in services["loop"]
    for service in services.values():
        assert any(digit.isdigit() for digit in service["image"]) or "build" in service
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (FOLDER / source).is_file()
    assert "allow_anonymous false" in (FOLDER / "mosquitto.conf").read_text()


def test_the_service_runs_the_loop_with_flags_that_exist():
    lines = (FOLDER / "regenhance-loop.service").read_text().replace("\\\n", " ").splitlines()
    unit = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    python, script, *words = shlex.split(unit["ExecStart"])
    assert Path(python).name == "python"
    assert (ROOT / script).is_file()
    assert str(parsed(words).save_dir) == f"/var/lib/{unit['StateDirectory']}"
