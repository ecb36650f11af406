"""The end of a voice in the powers of its blocks. Pure."""

# A voice ends with its last part that is at most 35 dB below its loudest one (docs/metrics.md).
# What is in doubt is whether the quiet end of a sound is the voice or the room behind it, which a
# gate may end later. It is the voice if silence follows, and it is short, or clearly voiced and
# becomes quieter. Otherwise its duration is the uncertainty of the end.

from collections.abc import Sequence
from itertools import pairwise

from bench.sound.onset_limits import BLOCK_MS, END, RISE, SILENCE_ENERGY
from bench.sound.tones import RATE_HZ, is_clearly_voiced
from bench.wire.audio import Samples


def quiet_end(powers: Sequence[float], certain: float) -> int:
    """Return the number of the last blocks of a sound that may be the room and not its voice, which
    certainly lasts while it has the power `certain`.

    A click in the room does not last, so it is no voice. A deep voice has its power in every second
    block. What is before a silent block is no room: that is heard in the pauses of a voice.
    """
    near = [one + other >= 2 * certain for one, other in pairwise((0, *reversed(powers)))]
    silent = (at for at, power in enumerate(reversed(powers)) if power < SILENCE_ENERGY)
    lasting = (
        at
        for at, is_near in enumerate(near)
        if is_near and sum(near[at : at + RISE.among_blocks]) >= END.lasting_blocks
    )
    return min(next(lasting, len(near)), next(silent, len(near)))


def faint_end(powers: Sequence[float], loudest: float) -> int:
    """Return the number of the last blocks of a sound that may be too faint for its voice. The last
    block may contain little of the sound.
    """
    near = (at for at, power in enumerate(reversed(powers)) if power * END.faint_ratio >= loudest)
    faint = next(near, len(powers))
    return faint if faint > 1 else 0


def fades(samples: Samples) -> bool:
    """Return whether the end of a sound, at 8 kHz, is a voice that fades: it is clearly voiced, and
    its last fifth is quieter. A room is rarely voiced, and a hum does not become quieter.
    """
    if len(samples) * 1_000 > END.max_fade_blocks * BLOCK_MS * RATE_HZ:
        return False
    power = samples.astype(float) ** 2
    last = power[-(len(power) // 5) :]
    return bool(power.mean() >= END.fade_ratio * last.mean()) and is_clearly_voiced(
        samples, END.fade_correlation
    )
