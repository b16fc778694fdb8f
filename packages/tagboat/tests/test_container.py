"""What was built, run here by runc: as whom, with what, how it stops, and without root."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from bench.lambda_service import http_event, lambda_service
from bench.ports import free_port

from ocikit import Image, Layout, unpack
from tagboat.container import ContainerError, Port, configuration, run_image

NOBODY = 65534
MAY_WRITE = ["/tmp", "/dev/shm"]  # noqa: S108  of the container
LOOK = """
import json, os, sys
def writable(path):
    try:
        open(path + "/x", "w").close()
        return True
    except OSError:
        return False
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "user": [os.getuid(), os.getgid()], "directory": os.getcwd(), "pid": os.getpid(),
    "arguments": sys.argv[1:],
    "variables": {name: os.environ.get(name) for name in ("A", "VIRTUAL_ENV", "HOME")},
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new": status["NoNewPrivs"].strip(),
    "writable": [path for path in ("/", "/app", "/opt/venv", "/tmp", "/dev/shm") if writable(path)],
}), flush=True)
"""


@pytest.fixture
def python(built):
    """An image that runs a Python script, with arguments."""

    def image(script: str, *arguments: str, **config) -> Image:
        command = {"entrypoint": ("python", "-c", script, *arguments)} | config
        container = replace(built.build.image.config.config, **command)
        return built.build.image.with_config(container)

    return image


@pytest.fixture
def start(python, build_cache, tmp_path):
    """Starts a script in a container, in a process of its own; ends it after the test if need be."""
    started = []

    def begin(script: str, *, ports: str = "", **config) -> subprocess.Popen:
        layout = tmp_path / f"layout{len(started)}"
        Layout(layout).write(python(script, **config))
        code = (
            "import sys\nfrom pathlib import Path\nfrom ocikit import Layout\n"
            "from tagboat.container import Port, run_image\n"
            f"ports = [Port.parse(text) for text in {ports!r}.split()]\n"
            f"image = Layout(Path({str(layout)!r})).image()\n"
            f"sys.exit(run_image(image, Path({str(build_cache)!r}), environment={{}}, ports=ports))\n"
        )
        started.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.terminate()
        process.communicate(timeout=180)


def test_it_runs_as_the_images_user_on_a_read_only_file_system(python, build_cache, capfd):
    code = run_image(
        python(LOOK), build_cache, arguments=["one", "two"], environment={"A": "1", "VIRTUAL_ENV": "mine"}
    )
    assert code == 0
    assert json.loads(capfd.readouterr().out) == {
        "user": [65532, 65532],
        "directory": "/app",
        "pid": 1,
        "arguments": ["one", "two"],
        "variables": {"A": "1", "VIRTUAL_ENV": "mine", "HOME": MAY_WRITE[0]},
        "capabilities": 0,
        "no_new": "1",
        "writable": MAY_WRITE,
    }


def test_the_exit_code_is_the_commands(python, build_cache):
    assert run_image(python("raise SystemExit(7)"), build_cache, environment={}) == 7


def test_a_signal_becomes_the_images_stop_signal(start):
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (print('stopped well', flush=True), sys.exit(3)))\n"
        "print('up', flush=True)\nwhile True: signal.pause()\n"
    )
    process = start(script, stop_signal="SIGUSR1")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=180)[0] == "stopped well\n"
    assert process.returncode == 3


def test_a_second_signal_kills_what_does_not_stop(start):
    script = (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
        "print('up', flush=True)\nwhile True: signal.pause()\n"
    )
    process = start(script)
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.stdout.readline() == "no\n"
    process.terminate()
    assert process.wait(timeout=180) == 128 + signal.SIGKILL


def test_a_port_of_this_machine_leads_to_the_apps(start):
    here, there = free_port(), free_port()
    script = (
        "import http.server\n"
        "class Hello(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'x' * 300_000)\n"
        f"server = http.server.HTTPServer(('127.0.0.1', {there}), Hello)\n"
        "print('up', flush=True)\nserver.serve_forever()\n"
    )
    process = start(script, ports=f"{here}:{there}")
    assert process.stdout.readline() == "up\n"
    with urllib.request.urlopen(f"http://127.0.0.1:{here}/", timeout=180) as response:
        assert len(response.read()) == 300_000


def test_without_root_the_app_runs_as_who_runs_it(python, monkeypatch):
    """As nobody, in a user namespace; only runc is started so, for others may not read this checkout."""
    image = python(LOOK)
    folder = Path(tempfile.mkdtemp())
    try:
        unpack(image, folder / "root", ownership=False)
        with monkeypatch.context() as other:
            other.setattr(os, "geteuid", lambda: NOBODY)
            other.setattr(os, "getegid", lambda: NOBODY)
            document = configuration(image, folder / "root", arguments=(), environment={})
        (folder / "config.json").write_text(json.dumps(document))
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
        done = subprocess.run(
            [
                *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"),
                *("runc", "--root", folder / "state", "run", "--bundle", folder, f"nobody-{os.getpid()}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        assert seen["user"] == [0, 0]
        assert seen["capabilities"] == 0
        assert seen["writable"] == MAY_WRITE
    finally:
        shutil.rmtree(folder)


def test_a_port_that_is_taken_is_told(python, build_cache):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ContainerError, match=f"port {port} cannot be opened here: Address already in use"
        ):
            run_image(python("pass"), build_cache, environment={}, ports=[Port(port, 1)])
        with pytest.raises(ContainerError, match=f"port {port}, which the app would open, cannot be opened"):
            run_image(python("pass"), build_cache, environment={}, ports=[Port(0, port)])


def test_the_apps_own_port_leads_to_it_as_it_is(python, build_cache):
    port = free_port()
    listens = f"import socket; socket.create_server(('', {port})).close()"
    assert run_image(python(listens), build_cache, environment={}, ports=[Port(port, port)]) == 0


def test_a_machine_without_runc_is_told_what_to_install(python, build_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContainerError, match="runc is not on this machine") as caught:
        run_image(python("pass"), build_cache, environment={})
    assert "apt-get install runc" in caught.value.hint


def test_a_command_that_is_not_in_the_image_is_told(built, build_cache):
    container = replace(built.build.image.config.config, entrypoint=("no-such-command",))
    with pytest.raises(ContainerError, match="no-such-command"):
        run_image(built.build.image.with_config(container), build_cache, environment={})


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"user": "www-data"}, "'www-data', which is not in numbers"),
        ({"stop_signal": "SIGNOTHING"}, "'SIGNOTHING' is none of Linux"),
        ({"entrypoint": ()}, "neither an entry point nor a command"),
    ],
)
def test_a_configuration_that_cannot_be_run_is_told(built, build_cache, config, complaint):
    container = replace(built.build.image.config.config, **config)
    with pytest.raises(ContainerError, match=complaint):
        run_image(built.build.image.with_config(container), build_cache, environment={})


@pytest.mark.parametrize("text", ["8080", "a:b", "0:1", "1:65536", "1:2:3", ":1"])
def test_what_is_no_pair_of_ports_is_refused(text):
    with pytest.raises(ContainerError, match="no pair of ports") as caught:
        Port.parse(text)
    assert caught.value.exit_code == 2


def test_run_builds_and_runs(tagboat, project):
    project.configure('[tool.tagboat.service]\nenvironment = { PYTHONLOUD = "$LOUD" }\n')
    done = tagboat(
        "run", "--env", "PYTHONMORE=2", "--env", "PYTHONTOO", ".", "--", "--flag", LOUD="1", PYTHONTOO="3"
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["uid"], seen["cwd"], seen["arguments"]) == (65532, "/app", ["--flag"])
    wanted = {"PYTHONLOUD": "1", "PYTHONMORE": "2", "PYTHONTOO": "3"}
    assert {name: seen["environment"][name] for name in wanted} == wanted


def test_run_without_a_variable_that_it_should_pass_on_is_wrong_use(tagboat):
    done = tagboat("run", "--env", "HAIL_NO_SUCH_VARIABLE")
    assert (done.returncode, done.stdout) == (2, "")
    assert "HAIL_NO_SUCH_VARIABLE" in done.stderr


def test_every_image_answers_aws_lambda_where_that_starts_it(start, built):
    script = (
        "import http.server, os\n"
        "class Hello(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(self.path.encode())\n"
        "    def log_message(self, *_): pass\n"
        "http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Hello).serve_forever()\n"
    )
    variables = built.build.image.config.config.env
    with lambda_service() as service:
        start(
            script,
            entrypoint=("/opt/tagboat/lambda", "python", "-c", script),
            env=(*variables, f"AWS_LAMBDA_RUNTIME_API={service.address}", f"PORT={free_port()}"),
        )
        assert service.invoke(http_event("/hello")).body == b"/hello"
        assert service.invoke(http_event("/again")).body == b"/again"
