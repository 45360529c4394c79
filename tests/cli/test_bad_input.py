"""Bad input ends with exit code 2 (or 1 for a failure), one paragraph that names it, and nothing on stdout."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]
Words = Callable[..., list[str]]


def refused(result: tuple[int, str, str], *says: str, code: int = 2) -> None:
    given, out, err = result
    assert given == code, err
    assert out == ""
    assert "error: " in err
    assert "Traceback" not in err
    assert "did not foresee" not in err
    for part in says:
        assert part in err, err


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": "no/such-model"}, ("no/such-model",)),
        ({"model": "specimne"}, ("specimne", "specimen")),
        ({"site": "1.resid_pots"}, ("resid_pots",)),
        ({"site": "7.resid_post"}, ("blocks.7.hook_resid_post", "2 blocks")),
        ({"site": "1..q"}, ("'1..q' is not a site",)),
        ({"site": "1.pattern"}, ("no fixed width",)),
        ({"latnets": "64"}, ("no key --latnets", "'latents'")),
        ({"seed_": "1"}, ("no key --seed-",)),
        ({"memory_mb": "64"}, ("--stream.memory-mb", "--evaluation.memory-mb", "--atlas.memory-mb", "Say which")),
        ({"k": "0"}, ("--k = 0 is not valid", "greater than 0")),
        ({"k": "65"}, ("k = 65", "64 latents")),
        ({"tokens": "many"}, ("--tokens", "'many'", "integer")),
        ({"heldout_share": "1.5"}, ("--heldout-share = 1.5", "less than or equal to 1")),
        ({"lr": "-1"}, ("--lr = -1", "greater than 0")),
        ({"capture.codec": "int4"}, ("codec", "int8")),
        ({"corpus": "no/such/text.jsonl"}, ("no/such/text.jsonl",)),
        ({"corpus": "builtni"}, ("builtni",)),
        ({"column": "body"}, ("body", "text")),
        ({"batch": "50000"}, ("Training needs 50,000 tokens for a batch",)),
        ({"text.batch": "5000"}, ("smaller than a batch",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_keys_of_a_run(
    keys: dict[str, str], says: tuple[str, ...], command: Command, words: Words, tmp_path: Path
) -> None:
    refused(command("run", *words(**keys), "--out", tmp_path / "run"), *says)


def test_an_unknown_model_or_site_leaves_no_folder(command: Command, words: Words, tmp_path: Path) -> None:
    command("run", *words(model="no/such-model"), "--out", tmp_path / "run")
    command("run", *words(site="9.resid_post"), "--out", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n\n", '{"text": ""}\n{"text": "  "}\n'])
def test_an_empty_corpus(content: str, command: Command, words: Words, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text(content)
    refused(command("run", *words(corpus=str(tmp_path / "empty.jsonl")), "--out", tmp_path / "run"), "empty.jsonl")


def test_lines_that_are_not_json(command: Command, words: Words, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    refused(
        command("run", *words(corpus=str(tmp_path / "broken.jsonl")), "--out", tmp_path / "run"), "broken.jsonl", "2"
    )


def test_an_unknown_device(command: Command, words: Words, tmp_path: Path) -> None:
    refused(command("run", *words(), "--device", "tpu", "--out", tmp_path / "run"), "no device 'tpu'", "doctor")


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("nowhere.toml", "There is no recipe nowhere.toml"),
        ("broken.toml", "is not valid TOML"),
        ("unknown.toml", "no field 'dictoinary'"),
        ("empty", "holds no run (no recipe.toml)"),
    ],
)
def test_a_recipe_that_cannot_be_read(
    recipe: str, says: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text("[dictionary\n")
    Path("unknown.toml").write_text("[dictoinary]\nk = 3\n")
    Path("empty").mkdir()
    refused(command("run", recipe, "--out", "run"), says)


def test_two_recipes(command: Command) -> None:
    refused(command("run", "one.toml", "two.toml"), "Expected one recipe or run folder, got 2")


def test_a_run_folder_of_another_recipe(finished: Run, command: Command, words: Words) -> None:
    result = command("run", *words(k="3"), "--out", finished.folder)
    refused(result, "made by another recipe: --k is 4 there and 3 here", "--out", "--update")


def test_a_run_folder_in_use(command: Command, words: Words, tmp_path: Path) -> None:
    from monosema.runs.ledger import run_lock

    folder = tmp_path / "run"
    with run_lock(folder):
        refused(command("run", *words(), "--out", folder), "Another process (id", "choose another folder with --out")


@pytest.mark.parametrize("cut", [7, 100, 30_000])
def test_truncated_weights(cut: int, command: Command, words: Words, tiny_directory: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    refused(command("run", *words(model=str(model)), "--out", tmp_path / "run"), "model.safetensors", code=1)


def test_vocabularies_that_do_not_fit(command: Command, words: Words, tiny_directory: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"word{number}": 300 + number for number in range(50)}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused(command("run", *words(model=str(model)), "--out", tmp_path / "run"), "don't fit", "259 tokens")


def test_a_model_without_tokenizer(command: Command, words: Words, tiny_directory: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    (model / "tokenizer.json").unlink()
    refused(command("run", *words(model=str(model)), "--out", tmp_path / "run"), "no tokenizer.json")


def train_words(path: Path, out: Path, *more: str) -> list[str]:
    return [
        "train",
        "--activations",
        str(path),
        "--latents",
        "32",
        "--k",
        "4",
        "--batch",
        "256",
        "--out",
        str(out),
        *more,
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_with_nan_or_infinity(value: float, command: Command, vectors: Path, tmp_path: Path) -> None:
    matrix = np.load(vectors)
    matrix[[3, 700], 2] = value
    np.save(tmp_path / "bad.npy", matrix)
    refused(
        command(*train_words(tmp_path / "bad.npy", tmp_path / "out")),
        "bad.npy: 2 values in 2 of 3,000 rows (rows 3, 700)",
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "There is no file"),
        (lambda path: np.save(path, np.zeros((0, 4), np.float32)), "bad.npy"),
        (lambda path: np.save(path, np.zeros(7, np.float32)), "bad.npy"),
        (lambda path: np.save(path, np.array([["a"]])), "bad.npy"),
        (lambda path: np.save(path, np.zeros((20, 4), np.float32)), "a batch takes 256"),
        (lambda path: path.write_bytes(b"\x93NUMPY rubbish"), "bad.npy"),
    ],
)
def test_files_that_hold_no_vectors(make: Callable[[Path], None], says: str, command: Command, tmp_path: Path) -> None:
    make(tmp_path / "bad.npy")
    refused(command(*train_words(tmp_path / "bad.npy", tmp_path / "out")), says)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--k", "33"), "--k specified multiple times"),
        (("--lr", "0"), "--lr = 0"),
        (("--passes", "0"), "--passes = 0"),
        (("--widht", "3"), "no key --widht"),
        (("recipe.toml",), "'recipe.toml' is not a key"),
    ],
)
def test_keys_of_a_matrix(more: tuple[str, ...], says: str, command: Command, vectors: Path, tmp_path: Path) -> None:
    refused(command(*train_words(vectors, tmp_path / "out", *more)), says)


def test_a_matrix_needs_a_place(command: Command, vectors: Path) -> None:
    refused(command("train", "--activations", vectors), "--out")


def test_a_full_disk_ends_with_1_and_nothing_is_lost(
    command: Command, words: Words, finished: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        result = command("run", *words(), "--out", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    refused(result, "No room left on the disk", "run the same command again", code=1)
    done = {name for name, record in Run.open(folder).stages.items() if record.state == "done"}
    assert "capture" in done
    code, _, err = command("run", *words(), "--out", folder)
    assert code == 0
    assert "capture: done before" in err
    assert Run.open(folder).evaluation() == finished.evaluation()


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (("3442",), "no feature 3442: this atlas has 0 to 63"),
        (("show", "64"), "no feature 64: this atlas has 0 to 63"),
        (("show", "cats"), "'cats' is not the number of a feature"),
        (("show",), "`show` needs the number of a feature"),
        (("serach", "cats"), "no action 'serach'. Did you mean 'search'"),
        (("list", "cats"), "takes no further words"),
        (("list", "--sort", "beauty"), "can't be sorted by 'beauty'"),
        (("sql", "select nothing from nowhere"), "nowhere"),
        (("sql", "drop table features"), "one SELECT"),
        (("sql", "select * from read_text('/etc/hostname')"), ""),
    ],
)
def test_questions_an_atlas_cannot_answer(action: tuple[str, ...], says: str, finished: Run, command: Command) -> None:
    refused(command("atlas", finished.folder, *action), says)


def test_an_atlas_that_is_not_built_yet(command: Command, words: Words, tmp_path: Path) -> None:
    assert command("capture", *words(tokens="600"), "--out", tmp_path / "run")[0] == 0
    refused(command("atlas", tmp_path / "run", "list"), "has not finished the stage 'atlas'")
    refused(command("atlas", tmp_path / "none", "list"), "does not exist")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--temperature", "-1"), "--temperature -1"),
        (("--tokens", "0"), "--tokens 0"),
        (("--top-p", "2"), "--top-p 2"),
        (("--top-k", "3"), "--temperature"),
    ],
)
def test_settings_of_a_completion(more: tuple[str, ...], says: str, command: Command, tiny_directory: Path) -> None:
    refused(command("complete", "hello", "--model", tiny_directory, *more), says)
    refused(command("complete", "hello", "--model", "no/such-model"), "no/such-model")
    refused(command("inspect", "no/such-model"), "no/such-model")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--architecture", "topp"), ("no architecture 'topp'", "batch_topk, gated")),
        (("--sweep", "batch=1,2"), ("--sweep can't vary batch",)),
        (("--sweep", "k"), ("--sweep k is not valid",)),
        (("--fit-scaling",), ("--sweep latents=",)),
        (("--optimiser", "sgd"), ("--optimiser = 'sgd'", "'adam', 'sign_sgd' or 'muon'")),
        (("--track", "wandb,other"), ("--track = 'other'", "'tensorboard' or 'wandb'")),
    ],
)
def test_what_training_refuses(
    more: tuple[str, ...], says: tuple[str, ...], command: Command, vectors: Path, tmp_path: Path
) -> None:
    refused(command("train", "--activations", vectors, "--out", tmp_path / "out", *more), *says)
