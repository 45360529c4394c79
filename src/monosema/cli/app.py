"""The verbs, in the order of the walk."""

from __future__ import annotations

from cyclopts import App, Group

from monosema.cli.verbs import (
    atlas,
    compare,
    complete,
    convert,
    doctor,
    explain,
    inspect,
    label,
    plan,
    run,
    score,
    search,
    train,
)

_HELP = """See inside a language model: text → tokens → activations → dictionary → features → meaning.

`monosema run` walks the whole line on the embedded model and ends with a report.
`monosema VERB --help` explains a verb, with an example.
"""


def _version() -> str:
    from importlib.metadata import version

    return f"monosema {version('monosema')}"


app = App(
    name="monosema",
    help=_HELP,
    help_format="markdown",
    version=_version,
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

_WALK, _LOOK = Group("The walk", sort_key=1), Group("Look around", sort_key=3)
app.command(run.run, group=_WALK, sort_key=1)
app.command(run.capture, group=_WALK, sort_key=2)
app.command(train.train, group=_WALK, sort_key=3)
app.command(run.evaluate, group=_WALK, sort_key=4)
app.command(atlas.atlas, group=_WALK, sort_key=5)
app.command(run.report, group=_WALK, sort_key=6)
app.command(inspect.inspect, group=_LOOK, sort_key=7)
app.command(complete.complete, group=_LOOK, sort_key=8)
app.command(plan.plan, group=_LOOK, sort_key=9)
app.command(doctor.doctor, group=_LOOK, sort_key=10)

_MEANING = Group("Meaning", sort_key=2)
app.command(explain.explain, group=_MEANING, sort_key=11)
app.command(search.search, group=_MEANING, sort_key=13)
app.command(score.score, group=_MEANING, sort_key=12)
app.command(label.label, group=_MEANING, sort_key=14)
app.command(compare.compare, group=_MEANING, sort_key=15)

_SHARE = Group("Dictionaries elsewhere", sort_key=4)
app.command(convert.convert, group=_SHARE, sort_key=20)
app.command(convert.push, group=_SHARE, sort_key=21)
app.command(convert.pull, group=_SHARE, sort_key=22)
