"""The protocol keeps its promises in every order of its steps, but in the windows that the manual names; and no look of it is idle.

Each world is gone through to its end: no state is left out. explore.py goes through larger ones.
"""

import functools
import importlib
import inspect
import operator
import re
from collections import namedtuple

import pytest
from model import protocol
from model.explore import explore
from model.promises import AGAIN, FORGOTTEN, INVENTED, NO_REST, NOWHERE, OVERLAP, TWICE, UNJUDGED, UNRECORDED, broken
from model.protocol import GAPS, Protocol
from model.world import DEAD, DONE, FAILED, PENDING, PROCESSING, World

# ---- every promise is kept

WORLDS = {
    "kill -9": World(kills=2, recoveries=2, retries=1),
    "kill -9, and jobs that close their lock": World(kills=2, closes=True, recoveries=2, gaps=("note",)),
    "hands": World(kills=1, moves=2),
    "hands, and two recoveries": World(kills=2, moves=1, recoveries=2),
    "hands, and a newcomer": World(kills=1, moves=1, drops=1),
    "hands, and deaths to note": World(kills=1, moves=1, retries=1, noters=1),
    "hands, and jobs that close their lock": World(kills=1, moves=1, closes=True),
    "hands, and jobs that clear their environment": World(kills=1, moves=1, closes=True, clears=True),
    "hands, and jobs that hang": World(kills=1, moves=1, closes=True, hangs=True, gaps=("note",)),
    "hands, stops and troubles": World(kills=1, moves=1, stops=1, troubles=1, workers=1),
    "stops, troubles and a newcomer": World(kills=1, drops=1, stops=1, troubles=1, workers=1),
    "every gap, but no newcomer": World(kills=1, moves=1, retries=1, gaps=GAPS),
    "every gap and a newcomer, but hands move nothing": World(kills=1, drops=1, gaps=GAPS),
    "a gap at the claim, and nobody to recover": World(workers=1, recoveries=0, moves=1, drops=1, gaps=("claim",)),
    "two names: claimed": World(kills=1, recoveries=2, lies=(PENDING, PROCESSING)),
    "two names: recorded": World(kills=1, recoveries=2, lies=(PROCESSING, DONE), record=("done",)),
    "two names: due again": World(kills=1, recoveries=2, retries=1, lies=(FAILED, PENDING), record=("failed",)),
    "two names: tried again by hand": World(kills=1, moves=1, lies=(DEAD, PENDING), record=("dead",)),
    "no flags: kill -9": World(flags=False, kills=2, recoveries=2),
    "no flags: kill -9 and a newcomer": World(flags=False, kills=1, drops=1),
    "no flags: hands": World(flags=False, moves=1, retries=1, noters=1),
}


@functools.cache
def found(world):
    everything = explore(Protocol(world))
    print(f"{everything.states} states in {world}")
    return everything


@pytest.mark.parametrize("name", WORLDS)
def test_every_promise_is_kept(name):
    assert found(WORLDS[name]).violations == {}


# ---- but in the windows that queuectl-spool(5) names in CAVEATS

# breaks: the promises that are broken, and no others are. needs: what there must be for it, each: without it, none is broken.
Window = namedtuple("Window", "name world breaks needs")

HANDS = ({"moves": 0}, {"drops": 0})
AT_ONCE = ({"gaps": ()}, *HANDS)
WINDOWS = [
    Window("a newcomer at the instant of a claim", World(moves=1, drops=1, gaps=("claim",)), {INVENTED}, AT_ONCE),
    Window("a newcomer and kill -9 at the instant of a claim", World(moves=1, drops=1, kills=1, gaps=("claim",)), {INVENTED, UNRECORDED, AGAIN}, AT_ONCE),
    Window("a newcomer at the instant of the exchange", World(moves=1, drops=1, gaps=("record",)), {TWICE}, AT_ONCE),
    Window("a newcomer and kill -9 at the instant of the exchange", World(moves=1, drops=1, kills=1, gaps=("record",)), {TWICE, NOWHERE}, AT_ONCE),
    Window("a newcomer at the instant of the move", World(moves=1, drops=1, gaps=("move",)), {UNJUDGED, UNRECORDED}, AT_ONCE),
    Window(
        "kill -9 between a start and its note, of a job that closes its lock and clears its environment",
        World(kills=1, closes=True, clears=True, gaps=("note",)),
        {AGAIN},
        ({"kills": 0}, {"closes": False}, {"clears": False}, {"gaps": ()}),
    ),
    Window(
        "kill -9 between a start and its note, of a job that clears its environment and hangs",
        World(kills=1, clears=True, hangs=True, gaps=("note",)),
        {NO_REST},
        ({"kills": 0}, {"clears": False}, {"hangs": False}, {"gaps": ()}),
    ),
    Window("no flags: hands and kill -9", World(flags=False, moves=1, kills=1), {TWICE}, ({"flags": True}, {"moves": 0}, {"kills": 0})),
    Window("no flags: hands and a newcomer", World(flags=False, moves=1, drops=1, workers=1), {NOWHERE}, ({"flags": True}, *HANDS)),
    Window("no flags: hands twice", World(flags=False, moves=2, workers=1), {TWICE, UNRECORDED, FORGOTTEN}, ({"flags": True}, {"moves": 1})),
]  # fmt: skip


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.name)
def test_a_window_is_as_wide_as_the_manual_says(window):
    assert set(found(window.world).violations) == window.breaks
    for less in window.needs:
        assert found(window.world._replace(**less)).violations == {}, less


# ---- and no look is idle

# bugs: what the program forgets. breaks: the promise that goes with it; in the same world without the bugs it is kept.
Mutant = namedtuple("Mutant", "bugs world breaks")

AT_THE_CLAIM, AT_THE_EXCHANGE = (World(moves=1, drops=1, gaps=(gap,)) for gap in ("claim", "record"))
MUTANTS = {
    "a claim without lock": Mutant(["a claim's lock"], "kill -9", OVERLAP),
    "a lock behind the rename": Mutant(["a claim's lock before the rename"], "hands, and jobs that close their lock", OVERLAP),
    "a claim that replaces the running one": Mutant(
        ["a claim's look for its name", "NOREPLACE of a claim"], "hands, and a newcomer", NOWHERE
    ),
    "a claim of what has come into pending/ meanwhile": Mutant(
        ["a claim's look behind the lock"], "hands, and a newcomer", INVENTED
    ),
    "a claim that does not look what it has renamed": Mutant(
        ["a claim's look behind the rename"], "a gap at the claim, and nobody to recover", NO_REST
    ),
    "a claim that puts back what others have": Mutant(["the lock to put another back"], AT_THE_CLAIM, UNRECORDED),
    "a claim of what runs without its lock": Mutant(
        ["a claim's look who lives"], "hands, and jobs that close their lock", OVERLAP
    ),
    "a claim that leaves the mark": Mutant(["a claim's stamp"], "kill -9", UNRECORDED),
    "a job given back with its mark in processing/": Mutant(
        ["to rename before the stamp back"], "hands, stops and troubles", UNJUDGED
    ),
    "a record without lock": Mutant(["the record's lock"], "kill -9", UNRECORDED),
    "a record without mark": Mutant(["the record's mark"], "kill -9", AGAIN),
    "a record that does not look what it replaces": Mutant(["the look before the exchange"], "hands, and a newcomer", TWICE),
    "a record that does not look what came out": Mutant(["the look at what came out"], AT_THE_EXCHANGE, NOWHERE),
    "a record that moves what lies there": Mutant(["the look before the move"], "hands, and a newcomer", UNJUDGED),
    "a move that replaces": Mutant(["NOREPLACE of a move"], "hands, and a newcomer", NOWHERE),
    "recovery without lock": Mutant(["recovery's lock"], "kill -9", OVERLAP),
    "two recoveries that do not look again": Mutant(
        ["recovery's look behind the lock", "the look before the exchange"], "kill -9", AGAIN
    ),
    "recovery that goes by its plan": Mutant(
        ["the look who lives behind the lock"], "kill -9, and jobs that close their lock", AGAIN
    ),
    "recovery that does not know what was being started": Mutant(
        ["what was being started"], "kill -9, and jobs that close their lock", AGAIN
    ),
    "a lock that is not inherited, and nobody looks who lives": Mutant(
        ["the job's lock", "the look who lives behind the lock", "the environments"], "kill -9", AGAIN
    ),
    "a lost attempt that is not recorded": Mutant(["the lost attempt"], "kill -9", UNRECORDED),
    "a job that is not ended when its worker is dead": Mutant(
        ["those that were moved away"], "hands, and jobs that hang", NO_REST
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_forgotten_breaks_a_promise(name):
    bugs, world, breaks = MUTANTS[name]
    world = WORLDS.get(world, world)
    mutant = explore(Protocol(world, bugs), until=breaks)
    print(f"{mutant.states} states until: {breaks}\n  " + "\n  ".join(mutant.violations.get(breaks, [])))
    assert breaks in mutant.violations
    assert breaks not in found(world).violations


def test_each_look_has_its_mutant_and_each_gap_its_window():
    forgotten = re.findall(r"_forgets\((.*?)\)", inspect.getsource(protocol))
    assert {bug for mutant in MUTANTS.values() for bug in mutant.bugs} == set(re.findall(r'"(.*?)"', " ".join(forgotten)))
    assert {gap for window in WINDOWS for gap in window.world.gaps} == set(GAPS)


def test_what_the_model_says_of_the_code_is_there():
    named = re.findall(r"\b((?:claim|recovery|worker|roster|names)\.[\w.]*\w)", protocol.__doc__)
    assert len(named) > 20
    for module, _, name in (each.partition(".") for each in named):
        assert operator.attrgetter(name)(importlib.import_module(f"jobspool.{module}")), name


def test_a_way_leads_where_it_says():
    world = Protocol(WORLDS["kill -9"], ["a claim's lock"])
    states = {world.start()}
    for step in explore(world, until=OVERLAP).violations[OVERLAP]:
        states = {after for state in states for what, after in (*world.steps(state), *world.faults(state)) if what == step}
    assert any(OVERLAP in broken(state) for state in states)
