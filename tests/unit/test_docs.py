"""What is written is run: the README's fences, the settings' page."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtake.cli import main
from longtake.errors import CallerError
from longtake.settings import EXAMPLES, Settings, load, manual, parse_models
from tests.conftest import missing
from tests.servers import KEY, Server, served

ROOT = Path(__file__).parents[2]
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
SHELL = [line for kind, text in FENCES if kind == "sh" for line in text.splitlines()]


def a_photo(path: Path) -> Path:
    """A picture with something in it: noise at three scales."""
    rng = np.random.default_rng(1)
    layers = [Image.fromarray(rng.integers(0, 255, (n, n, 3), np.uint8)).resize((640, 360)) for n in (4, 16, 64)]
    picture = np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0)
    Image.fromarray(picture.astype(np.uint8)).save(path)
    return path


def test_the_readme_s_commands_are_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {line.split()[1] for line in SHELL if line.startswith("make ")}
    assert {"demo", "serve"} <= asked <= targets


def test_the_readme_s_commands_for_a_fleet_are_commands() -> None:
    commands = [shlex.split(line, comments=True)[1:] for line in SHELL if line.startswith("longtake ")]
    fleet = [command for command in commands if "-o" not in command]
    assert [command[0] for command in fleet] == ["serve", "worker", "top"]
    for name, *options in fleet:
        main.commands[name].make_context(name, options)  # raises for an option that there is not


def test_the_readme_s_command_lines_run_one_after_another(tmp_path: Path) -> None:
    a_photo(tmp_path / "photo.jpg")
    commands = [shlex.split(line) for line in SHELL if line.startswith("longtake ") and " -o " in line]
    assert len(commands) == 6
    for command in commands:
        quick = [] if "--seconds" in command else ["--seconds", "1"]
        quick = (
            ["--seconds", "3", "--resolution", "540p", "--fps", "12"]
            if command[1] in {"animate", "generate"}
            else quick
        )
        done = subprocess.run(
            [sys.executable, "-m", *command, *quick], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / command[command.index("-o") + 1]).stat().st_size > 10_000


def test_the_readme_s_python_runs_and_its_video_comes(server: Server, tmp_path: Path) -> None:
    (code,) = [text for kind, text in FENCES if kind == "python" and "import requests" in text]
    a_photo(tmp_path / "image1.png")
    with served(tmp_path) as files:
        for old, new in (
            ("http://127.0.0.1:8000", server.address), ("my_key", KEY), ("https://example.com", files)
        ):  # fmt: skip
            assert code.count(old) == 1
            code = code.replace(old, new)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found = re.search(r"'id': '([0-9a-f-]{36})'", done.stdout)
        assert found, done.stdout
        if not shutil.which("curl"):
            missing("curl", "there is no such program")
        server.completed(found[1])
        variables = {"LONGTAKE_KEY": KEY, "URL": server.address, "ID": found[1]}
        (waiting,) = [line for line in SHELL if line.startswith("curl ")]
        waited = subprocess.run(["sh", "-c", waiting], capture_output=True, env={**os.environ, **variables}, check=True)
        assert json.loads(waited.stdout)["video"]["width"] == 1280


@pytest.mark.parametrize(("kind", "sdk", "printed"), [
    ("python", "from lumaai import", "http"),
    ("python", "from openai import", "8 seconds"),
    ("js", 'require("lumaai")', "http"),
    ("js", 'require("openai")', "12 seconds"),
])  # fmt: skip
def test_the_readme_s_snippet_for_each_sdk_runs(
    kind: str, sdk: str, printed: str, server: Server, tmp_path: Path, node: str
) -> None:
    (code,) = [text for found, text in FENCES if found == kind and sdk in text]
    a_photo(tmp_path / "image1.png")
    if printed.startswith("12"):
        made = server.make({"prompt": "a lighthouse", "seconds": 8, "fps": 4, "resolution": "540p"})
        server.download(made["assets"]["video"], tmp_path / "longer.mp4")
    with served(tmp_path) as files:
        for old, new in (
            ("http://127.0.0.1:8000", server.address), ("my_key", KEY), ("https://example.com", files),
            ("1280x720", "160x90"), ('model="ray-2"', 'model="ray-2", resolution="540p"'),
            ('model: "ray-2"', 'model: "ray-2", resolution: "540p"'),
        ):  # fmt: skip
            code = code.replace(old, new)
        script = tmp_path / f"snippet.{'py' if kind == 'python' else 'js'}"
        script.write_text(code)
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment["NODE_PATH"] = str(ROOT / "tests" / "clients" / "node_modules")
        program = sys.executable if kind == "python" else node
        done = subprocess.run(
            [program, script.name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(printed), done.stdout
    if "seconds" in printed:
        assert (tmp_path / ("longer.mp4" if kind == "python" else "whole.mp4")).stat().st_size > 1000


def test_the_settings_page_is_the_table_of_settings() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == manual(), (
        "run: python -m longtake.settings > docs/settings.md"
    )


def test_a_variable_that_is_no_setting_is_a_typo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_PROT", "1")
    with pytest.raises(CallerError, match="LONGTAKE_PROT is not a setting"):
        load()


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_PORT", "4321")
    assert load(port=None).port == 4321
    assert load(port=1234).port == 1234


def test_a_variable_that_is_nearly_a_setting_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_DATABASE", "sqlite:///x")
    with pytest.raises(CallerError, match=r"did you mean LONGTAKE_DATABASE_URL\?$"):
        load()
    monkeypatch.delenv("LONGTAKE_DATABASE")
    monkeypatch.setenv("LONGTAKE_QQQQ", "1")
    with pytest.raises(CallerError, match=r"these are: LONGTAKE_API_KEY, "):
        load()


@pytest.mark.parametrize("name", ["database_url", "store_url", "public_url", "webhook_url", "log_format"])
def test_a_setting_with_a_pattern_is_refused_in_words(name: str) -> None:
    with pytest.raises(CallerError) as caught:
        load(**{name: "mysql://u:secret@h/d"})
    assert str(caught.value) == f"LONGTAKE_{name.upper()}: must be {EXAMPLES[name]}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("api_key", "short"),
        ("log_format", "xml"),
        ("public_url", "video.example.com"),
        ("drain_seconds", "inf"),
        ("part_seconds", "inf"),
        ("worker_grace_seconds", "nan"),
        ("poll_seconds", "0.0001"),
        ("report_seconds", "1"),
    ],
)
def test_a_setting_that_can_not_be_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(CallerError, match=f"LONGTAKE_{name.upper()}"):
        load(**{name: value})


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        monkeypatch.setenv(f"LONGTAKE_{name.upper()}", "")
        assert getattr(load(), name) == field.default


def test_models_are_a_list_of_names_with_engines() -> None:
    assert parse_models("a=motion, b=motion") == {"a": "motion", "b": "motion"}
    with pytest.raises(CallerError, match="MODEL=ENGINE"):
        parse_models("a")
