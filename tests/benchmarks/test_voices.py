"""The truth of the benchmark with recorded voices: rules and streams whose first and last
samples are known.
"""

from __future__ import annotations

import numpy as np
import pytest

from tools.benchmarks.onsets import rms
from tools.benchmarks.voices import corpus
from tools.benchmarks.voices.conditions import (
    CONDITIONS,
    LEVEL_DBFS,
    Voice,
    gain_db,
    level_of,
    stream,
)
from tools.benchmarks.voices.corpus import Recording, by_energy, by_variance, edges
from tools.benchmarks.voices.detection import FINDERS
from tools.benchmarks.voices.offline import Value

RATE_HZ = 8_000
START, END = 6_400, 17_600


def spoken(seed: int, floor_db: float = -60) -> np.ndarray:
    """Return noise that is loud from `START` to `END`, and `floor_db` around it."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(3 * RATE_HZ) * gain_db(LEVEL_DBFS + floor_db)
    samples[START:END] = rng.standard_normal(END - START) * gain_db(LEVEL_DBFS)
    return samples


@pytest.mark.parametrize("seed", range(5))
def test_both_rules_find_the_samples_at_which_a_voice_starts_and_ends(seed: int) -> None:
    samples = spoken(seed)
    found = by_energy(samples, RATE_HZ)
    assert found is not None
    start, end, level, floor = found

    assert (start, end) == (START, END)
    assert 57 < 10 * np.log10(level / floor) < 63
    assert abs(by_variance(samples, RATE_HZ, start, level) - START) <= 2
    assert (
        abs(by_variance(samples[::-1], RATE_HZ, len(samples) - end, level) - (len(samples) - END))
        <= 2
    )


def test_a_voice_is_cut_at_its_first_and_last_loud_millisecond() -> None:
    late = RATE_HZ // 1_000 * 7
    sound = np.concatenate([np.zeros(late), spoken(1)[START:END], np.zeros(late)])

    assert edges(sound, RATE_HZ) == (late, late + END - START)


def test_a_click_before_a_voice_is_no_part_of_it() -> None:
    samples = spoken(1)
    samples[START - 2_000 : START - 1_990] = 0.5
    found = by_energy(samples, RATE_HZ)

    assert found is not None
    assert found[0] == START


@pytest.mark.parametrize(
    "name", [name for name, made in CONDITIONS.items() if not made.is_long and made.line is None]
)
def test_the_voice_of_a_stream_is_where_the_stream_says(name: str) -> None:
    rng = np.random.default_rng(1)
    recorded = spoken(1)
    sound = recorded[START:END]
    voice = Voice(RATE_HZ, sound, recorded, START, END, rng.standard_normal(RATE_HZ))
    made = stream(CONDITIONS[name], [voice], np.random.default_rng(2))
    part = made.samples[round(made.end) - len(sound) : round(made.end)] / 32_768

    assert np.corrcoef(part, sound)[0, 1] > 0.9
    if name == "fades in for 150 ms":
        assert 0 <= made.start - (made.end - len(sound)) < 0.02 * RATE_HZ
    else:
        assert made.end - made.start == len(sound)
    if not name.startswith("peak"):
        assert level_of(sound, RATE_HZ) == pytest.approx(gain_db(LEVEL_DBFS), rel=0.1)


def test_all_finders_find_a_clear_sound() -> None:
    recorded = spoken(1)
    at = np.arange(END - START) / RATE_HZ
    sound = gain_db(LEVEL_DBFS) * sum(
        np.sin(2 * np.pi * 150 * number * at) / number for number in range(1, 12)
    )
    sound = sound * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * at))
    made = stream(
        CONDITIONS["hard"],
        [Voice(RATE_HZ, sound, recorded, START, END, sound[:0])],
        np.random.default_rng(1),
    )

    for find in FINDERS.values():
        found = find(made)
        assert found.start_s == pytest.approx(made.start / RATE_HZ, abs=0.005)
        assert found.end_s == pytest.approx(made.end / RATE_HZ, abs=0.005)
        assert found.invented == 0
    assert rms(sound) > 0


def test_no_speaker_is_in_both_splits_and_one_who_speaks_two_languages_counts_once() -> None:
    paths = {
        "asterisk-core-sounds-en-wav": (
            "asterisk-core-sounds-en-wav/usr/share/asterisk/sounds/en_US_f_Allison/a.wav"
        ),
        "asterisk-core-sounds-es-wav": (
            "asterisk-core-sounds-es-wav/usr/share/asterisk/sounds/es_MX_f_Allison/a.wav"
        ),
        "asterisk-core-sounds-it-wav": (
            "asterisk-core-sounds-it-wav/usr/share/asterisk/sounds/it_IT_m_Carlo/a.wav"
        ),
        "klettres-data": "klettres-data/usr/share/klettres/en_GB/alpha/a.ogg",
        "ktuberling-data": "ktuberling-data/usr/share/ktuberling/sounds/en/hat.ogg",
    }
    listed = [
        Recording(path, package, *(corpus._speaker(package, path) or ()))
        for package, path in paths.items()
    ]
    splits = corpus._splits(listed)

    assert {entry.speaker for entry in listed} == {"Allison", "Carlo", "kde-en"}
    assert {splits["Allison"], splits["Carlo"]} == {"tuning", "held-out"}


def test_a_value_is_beyond_its_bound_only_if_its_error_exceeds_bound_and_tolerance() -> None:
    within, beyond = (
        Value("hard", "a.wav", RATE_HZ, "live", "start", 1.0, 1.0 + error_s, 0.02, 0)
        for error_s in (0.0249, 0.0251)
    )

    assert within.beyond_ms <= 0 < beyond.beyond_ms
