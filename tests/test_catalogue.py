"""The catalogue: its entries, and where a model's file is."""

import re
from pathlib import Path

import pytest

from pyruntime.catalogue import DEFAULT, entries, find, locate, models_folder
from pyruntime.errors import GGUFError


def test_catalogue_is_well_formed() -> None:
    names = [name for entry in entries() for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    for entry in entries():
        assert entry.name == entry.name.lower()
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*\.gguf", entry.file)
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.bytes > 0
        assert entry.parameters > 0
        assert entry.licence
        assert entry.description
        assert entry.architecture
        assert entry.parts
        assert all(part.package and part.version and part.member and part.wheel_bytes > 0 for part in entry.parts)


def test_default_is_in_the_catalogue() -> None:
    entry = find(DEFAULT)
    assert entry is not None
    assert find(entry.aliases[0].upper()) is entry
    assert find("no-such-model") is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PYRUNTIME_HOME": "/home-of-it", "XDG_CACHE_HOME": "/xdg"}, "/home-of-it/models"),
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/u"}, "/xdg/pyruntime/models"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/u"}, "/u/.cache/pyruntime/models"),
        ({"PYRUNTIME_HOME": "", "HOME": "/u"}, "/u/.cache/pyruntime/models"),
    ],
)
def test_models_folder(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("PYRUNTIME_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert models_folder() == Path(expected)


def test_locate_prefers_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(DEFAULT).write_bytes(b"mine")
    assert locate(DEFAULT) == Path(DEFAULT)


def test_locate_leaves_a_folder_to_the_reader(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path


def test_neither_a_file_nor_a_name() -> None:
    with pytest.raises(
        GGUFError, match=rf"^nope.gguf: no such file, and no model of the catalogue, which has {DEFAULT}, "
    ):
        locate("nope.gguf")
