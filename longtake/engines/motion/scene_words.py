"""What a prompt's words ask a drawn scene to show: a small grammar of place, hour, weather and colour."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

RGB = tuple[float, float, float]
"""0 to 255, gamma-encoded BT.709."""

_PLACES = {
    "underwater": "underwater jellyfish jellyfishes reef coral fish fishes whale octopus dolphin turtle seabed diving",
    "space": "space galaxy nebula cosmos universe cosmic planet planets orbit asteroid milky",
    "city": "city street skyline building buildings town downtown skyscraper skyscrapers tokyo york london paris urban",
    "desert": "desert dune dunes sand sahara mars canyon",
    "mountains": "mountain mountains alps peak peaks cliff cliffs himalaya volcano glacier fjord",
    "forest": "forest trees tree woods jungle pine pines woodland",
    "hills": "hill hills meadow meadows field fields grass valley countryside farm prairie garden park landscape",
    "sea": "sea ocean wave waves beach lake river water coast shore bay harbour harbor island pond surf",
}
_HOURS = {
    "sunset": "sunset sunrise dusk dawn evening golden twilight sundown",
    "night": "night midnight starry stars moon moonlit moonlight dark nocturnal aurora neon",
    "storm": "storm stormy overcast rain rainy raining fog foggy mist misty grey gray thunder gloomy",
}
_WEATHERS = {
    "snow": "snow snowy snowing snowfall winter blizzard snowflakes",
    "rain": "rain rainy raining rainfall drizzle storm stormy downpour",
    "aurora": "aurora borealis northern",
    "clouds": "cloud clouds cloudy sky overcast",
    "stars": "star stars starry",
    "moon": "moon moonlit moonlight",
    "sun": "sun sunny sunshine",
}
_COLOURS: dict[str, RGB] = {
    "red": (196, 58, 42),
    "orange": (232, 132, 46),
    "yellow": (238, 206, 84),
    "golden": (236, 178, 76),
    "gold": (226, 172, 62),
    "green": (74, 142, 62),
    "emerald": (32, 138, 96),
    "teal": (26, 132, 138),
    "turquoise": (52, 178, 178),
    "cyan": (70, 190, 214),
    "blue": (58, 118, 206),
    "azure": (66, 146, 228),
    "navy": (22, 40, 92),
    "indigo": (62, 52, 150),
    "purple": (126, 66, 168),
    "violet": (140, 84, 196),
    "pink": (232, 132, 172),
    "magenta": (200, 54, 150),
    "brown": (124, 84, 54),
    "white": (236, 238, 242),
    "silver": (176, 184, 194),
    "black": (18, 18, 24),
    "crimson": (168, 24, 48),
}


@dataclass(frozen=True)
class Scenery:
    """What the words name. Empty `place`: nothing that could be drawn as such."""

    place: str
    hour: str
    weathers: frozenset[str]
    tints: dict[str, RGB] = field(default_factory=dict)
    """A colour for a part: `sky`, `ground`, `water`, or `accent` for a colour that stands by itself."""


def read_scenery(prompt: str) -> Scenery:
    """Reads a prompt; a colour belongs to the first part named within the three words after it."""
    words = re.findall(r"[a-z]+", prompt.lower())
    named = set(words)
    place = next((place for place, names in _PLACES.items() if named & set(names.split())), "")
    hour = next((hour for hour, names in _HOURS.items() if named & set(names.split())), "day")
    weathers = frozenset(weather for weather, names in _WEATHERS.items() if named & set(names.split()))
    if not place and (weathers or hour != "day"):
        place = "hills" if "snow" in weathers else "mountains" if "aurora" in weathers else "sea"
    return Scenery(place, hour, weathers, _tints(words))


def _tints(words: list[str]) -> dict[str, RGB]:
    tints: dict[str, RGB] = {}
    for index, word in enumerate(words):
        if word in _COLOURS:
            parts = (_part(following) for following in words[index + 1 : index + 4])
            tints.setdefault(next((part for part in parts if part), "accent"), _COLOURS[word])
    return tints


def _part(word: str) -> str:
    if word in ("sky", "clouds", "sunset", "sunrise", "aurora"):
        return "sky"
    if any(word in _PLACES[place].split() for place in ("sea", "underwater")):
        return "water"
    return "ground" if any(word in names.split() for names in _PLACES.values()) else ""
