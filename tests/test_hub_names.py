"""Names of models of the hub, the file that each means, and where the cache is; without a network."""

import importlib
import random
import re
from pathlib import Path

import pytest

from pyruntime import hub
from pyruntime.errors import FetchError
from pyruntime.hub import Name, NoSuchModel, choose, models_of, parse, quant_of


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:owner/repo", Name("owner/repo")),
        ("hf://owner/repo", Name("owner/repo")),
        ("hf:owner/repo:q4_k_m", Name("owner/repo", quant="Q4_K_M")),
        ("hf:owner/repo:fp16", Name("owner/repo", quant="F16")),
        ("hf:own_er-1/re.po-GGUF@v1.0/a b/c.gguf", Name("own_er-1/re.po-GGUF", "v1.0", "a b/c.gguf")),
        ("hf:o/r/UD/Ω.gguf:UD-Q4_K_XL", Name("o/r", None, "UD/Ω.gguf", "UD-Q4_K_XL")),
    ],
)
def test_parse(text: str, name: Name) -> None:
    assert parse(text) == name
    assert parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hf:",
            "hf:repo",
            "hf:/repo",
            "hf:owner/",
            "hf:owner/repo/",
            "hf:owner/repo:",
            "hf:owner/repo@",
            "hf:a/b:c:d",
        ),
        *("hf:../repo", "hf:owner/..", "hf:.a/b", "hf:a--b/c", "hf:a/b..c", "hf:ö/b", "hf:a b/c", "hf:a/b@../../x"),
        *(
            "hf:o/r/../x.gguf",
            "hf:o/r//x.gguf",
            "hf:o/r/./x.gguf",
            "hf:o/r/a\\b.gguf",
            "hf:o/r/\x1b[2Jx.gguf",
            "hf:o/r/a\n",
        ),
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(FetchError, match=re.escape(f"a model of the Hugging Face hub is {hub.FORM}")) as caught:
        parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("SmolLM2-135M-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("smollm2-135m-instruct-q8_0.gguf", "Q8_0"),
        ("Qwen3-0.6B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("model.IQ4_XS.gguf", "IQ4_XS"),
        ("model.i1-IQ3_XXS.gguf", "IQ3_XXS"),
        ("model_q4_k_s.gguf", "Q4_K_S"),
        ("model-Q4_0_4_8.gguf", "Q4_0_4_8"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("model-bf16.gguf", "BF16"),
        ("model-fp16.gguf", "F16"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("model-f16-Q6_K.gguf", "Q6_K"),
        ("Q5_K_M/model-00001-of-00002.gguf", "Q5_K_M"),
        ("model-Q2_K_L-v2.gguf", "Q2_K_L"),
        ("Qwen2.5-7B.gguf", ""),
        ("modelQ4_0.gguf", ""),
        ("model.gguf", ""),
    ],
)
def test_quant_of(path: str, quant: str) -> None:
    assert quant_of(path) == quant


QUANTS = ("Q2_K", "Q4_K_S", "Q4_K_M", "IQ4_XS", "UD-Q4_K_XL", "Q4_K_XL", "Q8_0", "BF16", "F16")
MANY = [f"m-{quant}.gguf" for quant in QUANTS]
SPLIT = [f"big/m-Q6_K-0000{i}-of-00003.gguf" for i in (3, 1, 2)]
BESIDES = ["README.md", "mmproj-m-F16.gguf", "m-mmproj-Q8_0.gguf", "imatrix.gguf", "m-imatrix.gguf", "m.bin"]


@pytest.mark.parametrize("quant", QUANTS)
def test_a_quantization_is_the_whole_name(quant: str) -> None:
    files = random.Random(quant).sample(MANY + BESIDES, len(MANY + BESIDES))
    assert choose(Name("o/r", quant=quant), files) == (f"m-{quant}.gguf",)


@pytest.mark.parametrize("quant", ["Q4_K", "K_M", "Q4", "XS", "Q5_K_M", "F32"])
def test_a_part_of_a_name_is_none(quant: str) -> None:
    with pytest.raises(NoSuchModel, match="no such GGUF model; it has :BF16, :F16, :IQ4_XS, :Q2_K, :Q4_K_M, "):
        choose(Name("o/r", quant=quant), [*MANY, *BESIDES])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["odd-name.gguf"], "odd-name.gguf"),
        (["a-Q2_K.gguf"], "a-Q2_K.gguf"),
        (MANY, "m-Q4_K_M.gguf"),
        (["m-F32.gguf", "m-Q8_0.gguf", "m-Q2_K.gguf"], "m-Q8_0.gguf"),
        (["m-Q4_0.gguf", "m-Q4_1.gguf", "m-Q5_K_M.gguf"], "m-Q4_1.gguf"),
    ],
)
def test_default(files: list[str], expected: str) -> None:
    assert choose(Name("o/r"), [*BESIDES, *files]) == (expected,)


def test_split_files_are_one_model() -> None:
    parts = tuple(sorted(SPLIT))
    assert choose(Name("o/r"), SPLIT) == parts
    assert choose(Name("o/r", quant="Q6_K"), [*SPLIT, *MANY]) == parts
    assert choose(Name("o/r", file=SPLIT[0]), [*SPLIT, *MANY]) == parts  # any part means all of them
    assert choose(Name("o/r", file="big"), [*SPLIT, *MANY]) == parts
    for missing in SPLIT:
        with pytest.raises(NoSuchModel, match="it has none"):
            choose(Name("o/r"), [path for path in SPLIT if path != missing])
    assert not models_of(["m-00000-of-00001.gguf", "m-00001-of-00000.gguf"])


def test_ambiguous() -> None:
    two = ["a/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf"]
    with pytest.raises(NoSuchModel, match=r"more than one.*: say which of /a/m-Q4_K_M.gguf, /b/m-Q4_K_M.gguf$"):
        choose(Name("o/r"), two)
    with pytest.raises(NoSuchModel, match="more than one"):
        choose(Name("o/r", quant="Q4_K_M"), two)
    with pytest.raises(NoSuchModel, match=r"say which of /one.gguf, /two.gguf$"):
        choose(Name("o/r"), ["one.gguf", "two.gguf"])
    assert choose(Name("o/r", file="b", quant="Q4_K_M"), two) == ("b/m-Q4_K_M.gguf",)
    assert choose(Name("o/r", file="b/m-Q4_K_M.gguf"), two) == ("b/m-Q4_K_M.gguf",)


def test_long_and_hostile_listings_are_one_short_line() -> None:
    files = [f"\x1b[31m{i}\n.gguf" for i in range(1000)]
    with pytest.raises(NoSuchModel, match=r"and 980 more$") as caught:
        choose(Name("o/r"), files)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"XDG_CACHE_HOME": "/xdg"},
        {"HF_HOME": "~/hf"},
        {"HF_HOME": "$HOME/hf", "XDG_CACHE_HOME": "/xdg"},
        {"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old"},
        {"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "~/new"},
    ],
)
def test_cache_folder_is_the_librarys(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/u")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    source = importlib.util.find_spec("huggingface_hub.constants")
    assert source is not None
    fresh = importlib.util.module_from_spec(source)  # not a reload: other tests use that one
    assert source.loader is not None
    source.loader.exec_module(fresh)
    assert hub.cache_folder() == Path(fresh.HF_HUB_CACHE)


def test_relative_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", "here")
    assert hub.cache_folder() == tmp_path / "here" / "hub"


def test_the_document_names_the_defaults() -> None:
    text = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"the first of {', '.join(hub.PREFERRED)} that there is" in text
