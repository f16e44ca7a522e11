"""Captions: parsed back, every word of them is true of the scene."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from bottega.data.scene_captions import NUMBERS, RELATIONS, describe
from bottega.data.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOST_OBJECTS,
    SHAPES,
    SIZES,
    Scene,
    SceneConfig,
    SceneObject,
    sample_scene,
)

WORDS = "|".join
THING = rf"(a|an|{WORDS(NUMBERS[2:])}) (?:({WORDS(SIZES)}) )?({WORDS(COLOURS)}) ({WORDS(SHAPES)})(?:e?s)?"
GROUND = re.compile(rf" on a ({WORDS(BACKGROUNDS)}) background$")
SPOT = re.compile(r" (at the|on the|in the) (top|bottom|left|right|centre)( left| right)?$")
LEAD = re.compile("^(a picture of|there is|there are) ")


def check(caption: str, scene: Scene) -> set[str]:
    """Assert that the caption is true; return which of the grammar's parts it used."""
    used = set()
    rest, ground = GROUND.sub("", caption).rstrip(","), GROUND.search(caption)
    if ground:
        used.add("ground")
        assert ground[1] == scene.background
    lead, rest = LEAD.match(rest), LEAD.sub("", rest)
    if lead:
        used.add(lead[1])
    if spot := SPOT.search(rest):
        used.add("spot")
        check_spot(spot[2] + (spot[3] or ""), scene.objects[0])
        rest = SPOT.sub("", rest)
    if relation := re.match(rf"({THING}) ({WORDS(RELATIONS)}) ({THING})", rest):
        used.add("relation")
        first, second = re.fullmatch(THING, relation[1]), re.fullmatch(THING, relation[7])
        assert any(
            fits(one, first) and fits(other, second) and holds(relation[6], one, other)
            for one in scene.objects
            for other in scene.objects
            if one is not other
        )
    things = list(re.finditer(THING, rest))
    sized = things[0][2] is not None
    named = Counter()
    for thing in things:
        count = NUMBERS.index(thing[1].replace("an", "a"))
        if count == 1:
            assert (thing[1] == "an") == (thing[0].split()[1][0] in "aeiou")
        plural = "crosses" if thing[4] == "cross" else f"{thing[4]}s"
        assert thing[0].endswith(thing[4] if count == 1 else plural)
        named[thing[2] if sized else None, thing[3], thing[4]] += count
        used.add("counted" if count > 1 else "one")
    assert named == Counter((o.size_word if sized else None, o.colour, o.shape) for o in scene.objects)
    left = re.sub(THING, "", rest)
    for words in (*RELATIONS, "with", "and", ","):
        left = left.replace(words, "")
    assert not left.strip(), caption
    return used | {"sized" if sized else "unsized"}


def fits(thing: SceneObject, said: re.Match[str] | None) -> bool:
    """Whether a noun phrase may mean this object."""
    assert said is not None
    return said[2] in (None, thing.size_word) and (said[3], said[4]) == (thing.colour, thing.shape)


def holds(relation: str, one: SceneObject, other: SceneObject) -> bool:
    """What the documentation says that a relation means."""
    right, down = one.x - other.x, one.y - other.y
    along, across = (down, right) if relation in ("above", "below") else (right, down)
    towards = -along if relation in ("above", "left of") else along
    return towards >= 0.1 and towards > abs(across)


def check_spot(words: str, thing: SceneObject) -> None:
    """The thirds of the picture."""
    assert ("top" in words) == (thing.y < 1 / 3)
    assert ("bottom" in words) == (thing.y >= 2 / 3)
    assert ("left" in words) == (thing.x < 1 / 3)
    assert ("right" in words) == (thing.x >= 2 / 3)


def test_captions_are_true_of_their_scenes():
    used: Counter[str] = Counter()
    for number in range(3000):
        scene = sample_scene(SceneConfig(64, 1, 6), 5, number)
        used.update(check(describe(scene, number), scene))
    parts = {
        "ground",
        "spot",
        "relation",
        "counted",
        "sized",
        "unsized",
        "there is",
        "there are",
        "a picture of",
    }
    assert set(used) >= parts
    assert min(used[part] for part in parts) >= 5


def test_the_parser_would_notice_a_lie():
    scene = Scene((SceneObject("star", "red", 0.3, 0.5, 0.2), SceneObject("ring", "blue", 0.5, 0.5, 0.7)))
    assert "relation" in check("a medium red star above a large blue ring on a white background", scene)
    for lie in (
        "a medium red star below a large blue ring",
        "a red star and a green ring",
        "a red star and two blue rings",
        "a small red star and a large blue ring",
        "a red star above a blue ring on a black background",
    ):
        with pytest.raises(AssertionError):
            check(lie, scene)


def test_a_seed_words_it_always_alike_and_others_otherwise():
    scene = sample_scene(SceneConfig(64, 3, 3), 0, 1)
    assert describe(scene, 7) == describe(scene, 7)
    assert len({describe(scene, seed) for seed in range(50)}) > 10


def test_objects_on_one_spot_stand_in_no_relation():
    twins = Scene((SceneObject("star", "red", 0.3, 0.5, 0.5),) * 2)
    said = [describe(twins, seed) for seed in range(30)]
    assert all(not any(relation in caption for relation in RELATIONS) for caption in said)
    assert any("two medium red stars" in caption for caption in said)


def test_there_is_a_word_for_every_number_of_things():
    assert len(NUMBERS) == MOST_OBJECTS + 1


def test_an_empty_scene_has_words_too():
    assert describe(Scene((), "grey")) == "an empty grey background"
