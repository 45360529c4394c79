import subprocess
import sys

import pytest
import torch

from monosema.core import (
    ConfigError,
    choose_device,
    choose_dtype,
    derive_seed,
    measure_machine,
    numpy_generator,
    torch_generator,
)
from monosema.core.device import bf16_is_fast, choose_product, int8_is_fast


def test_importing_the_core_imports_nothing_heavy() -> None:
    script = "import sys, monosema.core; print(sorted({'torch', 'transformers', 'rich', 'sklearn'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_generators_are_named() -> None:
    assert numpy_generator(0, "a").random() == numpy_generator(0, "a").random()
    assert numpy_generator(0, "a").random() != numpy_generator(0, "b").random()
    assert derive_seed(0, "a", 1) != derive_seed(1, "a", 1)
    assert torch.equal(
        torch.rand(3, generator=torch_generator(1, "x")), torch.rand(3, generator=torch_generator(1, "x"))
    )


def test_unknown_devices_and_precisions() -> None:
    with pytest.raises(ConfigError, match="monosema doctor"):
        choose_device("abacus")
    with pytest.raises(ConfigError, match="bfloat16"):
        choose_dtype(torch.device("cpu"), "float12")
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_dtype(torch.device("cpu"), "float16") == torch.float16


def test_the_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = measure_machine(torch.device("cpu"))
    assert facts.fp32_gflops > 0
    assert facts.bf16_gflops > 0
    assert facts.memory_gb >= facts.memory_free_gb > 0
    monkeypatch.setenv("MONOSEMA_BF16", "0")
    bf16_is_fast.cache_clear()
    assert choose_dtype(torch.device("cpu")) == torch.float32
    bf16_is_fast.cache_clear()


@pytest.mark.parametrize(
    ("bf16", "int8", "chosen"),
    [("0", "0", torch.float32), ("0", "1", torch.int8), ("1", "1", torch.bfloat16)],
)
def test_the_fastest_product_is_chosen(
    bf16: str, int8: str, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONOSEMA_BF16", bf16)
    monkeypatch.setenv("MONOSEMA_INT8", int8)
    for measured in (bf16_is_fast, int8_is_fast):
        measured.cache_clear()
    assert choose_product(torch.device("cpu")) == chosen
    for measured in (bf16_is_fast, int8_is_fast):
        measured.cache_clear()


def test_integers_are_measured_on_processors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONOSEMA_INT8")
    for rates, fast in (((100.0, 300.0), True), ((100.0, 150.0), False)):
        monkeypatch.setattr("monosema.core.device._rates", lambda *_, rates=rates, **__: rates)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        int8_is_fast.cache_clear()
        assert int8_is_fast(torch.device("cpu")) is fast
    monkeypatch.setattr("monosema.core.device._rates", lambda *_, **__: (100.0, 300.0))
    assert not int8_is_fast(torch.device("meta"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    int8_is_fast.cache_clear()
    assert not int8_is_fast(torch.device("cpu"))
    int8_is_fast.cache_clear()
