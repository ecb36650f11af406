"""Signal processing: where sound begins and ends in a stream of audio, and how certain that is.

The order of a block of 10 ms: `direct_current` and `deep_noise` remove what is no sound, `blocks`
says at once that a block changes nothing, or `onsets` decides with the levels of `onset_limits`,
with `tones` for steady tones and hum. `onset_bounds` has the bounds of each instant, and `ends`
those of an end. `item_sounds` searches the audio of items, and follows a tone that goes on with
`steady_tone`; `early_sound` searches the sound before a reply. No module knows turns.
"""
