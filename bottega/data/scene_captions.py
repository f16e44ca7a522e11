"""What is on a scene, in words: the grammar varies, and whatever is said is true of the picture.

    caption   = [lead] (single | relation | list) [ground]
    lead      = "a picture of" | "there is" | "there are"
    single    = thing [spot]                                        "a large red circle at the top left"
    relation  = thing ("above" | "below" | "left of" | "right of") thing ["with" list]
    list      = thing {", " thing} ["and" thing]                    "two small red circles and a blue square"
    thing     = (article | number) [size] colour shape
    ground    = "on a black background" | …

Within a caption sizes are given to all things or to none. Every object is counted exactly once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from bottega.data.scenes import Scene, SceneObject

RELATIONS = ("above", "below", "left of", "right of")
NUMBERS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
CLEARLY = 0.1  # of the picture is how much farther one lies than the other, where a caption says so


def describe(scene: Scene, seed: int = 0) -> str:
    """A caption of all that is on the scene; another `seed` may word it otherwise, and be as true.

    Shapes and colours are always said, sizes and the background mostly. One object may be given its spot:
    the picture in thirds, by its centre. Of two objects that are named in a relation, "above" means that
    their centres lie farther apart upwards than sideways, and by a tenth of the picture at least.
    """
    rng = random.Random(seed)
    sized = rng.random() < 0.7
    ground = f" on a {scene.background} background" if rng.random() < 0.6 else ""
    lead = rng.choice(("", "", "a picture of ", "there is "))
    objects = list(scene.objects)
    if not objects:
        return f"an empty {scene.background} background"
    if len(objects) == 1:
        spot = f" {_spot(objects[0])}" if rng.random() < 0.5 else ""
        return f"{lead}{_things(objects, sized)[0]}{spot}{ground}"
    pair = rng.sample(objects, 2)
    relation = _relation(*pair)
    if relation and rng.random() < 0.7:
        first, second = (_things([item], sized)[0] for item in pair)
        rest = [item for item in objects if not any(item is one for one in pair)]
        others = f", with {_listed(_things(rest, sized))}," if rest else ""
        return f"{lead}{first} {relation} {second}{others}{ground}".rstrip(",")
    rng.shuffle(objects)
    things = _things(objects, sized)
    if lead == "there is " and not things[0].startswith(("a ", "an ")):
        lead = "there are "
    return f"{lead}{_listed(things)}{ground}"


def _things(objects: Sequence[SceneObject], sized: bool) -> list[str]:
    """Noun phrases; objects that would be called alike are counted in one."""
    names = Counter(
        f"{o.size_word} {o.colour} {o.shape}" if sized else f"{o.colour} {o.shape}" for o in objects
    )
    return [_counted(name, count) for name, count in names.items()]


def _counted(name: str, count: int) -> str:
    if count > 1:
        number = NUMBERS[count] if count < len(NUMBERS) else str(count)
        return f"{number} {name}{'es' if name.endswith('s') else 's'}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _listed(things: Sequence[str]) -> str:
    if len(things) == 1:
        return things[0]
    return f"{', '.join(things[:-1])} and {things[-1]}"


def _relation(one: SceneObject, other: SceneObject) -> str | None:
    """What `one` is of `other`; None where that is not clear."""
    right, down = one.x - other.x, one.y - other.y
    if max(abs(right), abs(down)) < CLEARLY or abs(right) == abs(down):
        return None
    if abs(down) > abs(right):
        return "above" if down < 0 else "below"
    return "left of" if right < 0 else "right of"


def _spot(thing: SceneObject) -> str:
    row = ("top", "", "bottom")[min(2, int(3 * thing.y))]
    column = ("left", "", "right")[min(2, int(3 * thing.x))]
    if row:
        return f"at the {row} {column}".rstrip()
    return f"on the {column}" if column else "in the centre"
