"""GitHub's workflows, forms and the hooks before a commit: what they name exists, and says the same as pyproject.toml. Their
schemas are checked where the rest is linted (.ci/run); that they run was not tried here."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
CIBUILDWHEEL = PYPROJECT["tool"]["cibuildwheel"]


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


WORKFLOWS = {path.stem: load(str(path)) for path in sorted((ROOT / ".github" / "workflows").iterdir())}
PRE_COMMIT = load(".pre-commit-config.yaml")


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for workflow in WORKFLOWS.values():
        yield from workflow["jobs"].items()


def steps() -> Iterator[dict[str, Any]]:
    for _, job in jobs():
        yield from job["steps"]


def test_every_action_is_of_a_fixed_version() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert len(used) > 10
    assert not [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+(\.\d+)*", action)]
    (cibuildwheel,) = {action for action in used if "cibuildwheel" in action}
    (ours,) = (re.search(r"==(.*)\.\*", extra) for extra in EXTRAS["dev"] if extra.startswith("cibuildwheel"))
    assert ours is not None
    assert cibuildwheel.startswith(f"pypa/cibuildwheel@v{ours.group(1)}.")


def test_what_the_steps_run_and_read_exists() -> None:
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    assert ".ci/run" in lines
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    for extra in re.findall(r"pip install '\.\[(\w+)\]'", "\n".join(lines)):
        assert extra in EXTRAS
    read = [path for step in steps() for path in re.findall(r"hashFiles\('(.*?)'\)", str(step))]
    assert read
    assert all((ROOT / path).is_file() for path in read)


def test_both_processors_run_all_of_ci_and_macs_the_tests() -> None:
    assert WORKFLOWS["ci"]["jobs"]["linux"]["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert WORKFLOWS["ci"]["jobs"]["macos"]["strategy"]["matrix"]["runner"] == ["macos-15", "macos-15-intel"]
    assert [step["run"] for step in WORKFLOWS["ci"]["jobs"]["macos"]["steps"] if "run" in step] == [
        "pip install '.[test]'",
        "pytest",
    ]


def test_one_job_publishes_and_no_secret_takes_part() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in jobs() if "permissions" in job} == {
        "publish": {"id-token": "write"}
    }
    publish = WORKFLOWS["wheels"]["jobs"]["publish"]
    assert sorted(publish["needs"]) == ["sdist", "wheels"]
    assert publish["if"] == "github.event_name == 'push'"
    assert WORKFLOWS["wheels"][True]["push"] == {"tags": ["v*"]}  # YAML 1.1 reads the key `on` as a boolean
    assert "secrets." not in "".join(str(workflow) for workflow in WORKFLOWS.values())


def test_what_is_uploaded_is_what_is_built() -> None:
    uploads = {step["with"]["path"] for step in steps() if "upload-artifact" in step.get("uses", "")}
    assert uploads == {"wheelhouse/*.whl", "dist/*.tar.gz"}  # the folders of cibuildwheel and of build
    (download,) = (step for step in steps() if "download-artifact" in step.get("uses", ""))
    assert download["with"] == {"path": "dist", "merge-multiple": True}  # where the publishing action looks


def test_wheels_of_windows_are_built_and_not_published() -> None:
    jobs = WORKFLOWS["wheels"]["jobs"]
    assert jobs["windows"]["continue-on-error"]
    assert not [step for step in jobs["windows"]["steps"] if "upload" in step["uses"]]
    assert "windows" not in jobs["publish"]["needs"]
    assert CIBUILDWHEEL["windows"]["environment"]["CXX"] == "clang++"  # CMakeLists.txt refuses the others


def test_wheels_are_tested_by_tests_that_exist() -> None:
    assert set(CIBUILDWHEEL["test-extras"]) <= set(EXTRAS)
    named = [word for word in shlex.split(CIBUILDWHEEL["test-command"]) if "{project}" in word]
    assert named
    assert all(Path(word.format(project=ROOT)).is_file() for word in named)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("cibuildwheel") is None, reason="needs cibuildwheel: pip install '.[dev]'")
@pytest.mark.parametrize(
    ("arguments", "platforms"),
    [
        (["--platform", "linux", "--archs", "x86_64,aarch64"], ["manylinux_x86_64", "manylinux_aarch64"]),
        (["--platform", "macos", "--archs", "x86_64,arm64"], ["macosx_x86_64", "macosx_arm64"]),
        (["--platform", "windows", "--archs", "AMD64"], ["win_amd64"]),
    ],
)
def test_cibuildwheel_builds_for_every_python_and_platform(arguments: list[str], platforms: list[str]) -> None:
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    pythons = ["cp311", "cp312", "cp313", "cp314"]
    assert sorted(done.stdout.split()) == sorted(f"{python}-{platform}" for python in pythons for platform in platforms)


def test_hooks_have_the_versions_of_the_dev_extra() -> None:
    hooks = [hook for repo in PRE_COMMIT["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in PRE_COMMIT["repos"]} == {"local"}
    assert {hook["entry"].split()[0] for hook in hooks} == {
        "ruff", "clang-format", "check-jsonschema", "mypy", "python",
    }  # fmt: skip
    for hook in hooks:
        assert set(hook.get("additional_dependencies", [])) <= set(EXTRAS["dev"])
        assert bool(hook.get("additional_dependencies")) == (hook["language"] == "python")


def test_ci_lints_what_the_hooks_lint() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("ruff check .", "ruff format --check .", "mypy", "clang-format --dry-run --Werror"):
        assert re.search(rf"^(.*\| xargs )?{re.escape(command)}$", ci, re.MULTILINE)
    for schema in ("vendor.github-workflows", "vendor.github-issue-forms"):
        assert schema in ci
        assert schema in str(PRE_COMMIT)


def test_the_forms_ask_for_what_a_report_needs() -> None:
    forms = {path.stem: load(str(path)) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}
    assert set(forms) == {"bug", "wrong-output", "feature", "config"}

    def required(form: str) -> set[str]:
        return {item["id"] for item in forms[form]["body"] if item.get("validations", {}).get("required")}

    assert required("bug") == {"happened", "doctor"}
    assert required("wrong-output") == {"file", "command", "seed", "isa", "output", "doctor"}
    assert required("feature") == {"need"}
    for form in ("bug", "wrong-output"):
        assert "pyruntime doctor --json" in [item["attributes"].get("label") for item in forms[form]["body"]]
