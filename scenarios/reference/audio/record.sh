#!/bin/sh
# Makes the recordings: flite speaks each line of texts.txt, and sox removes the silence at both ends, sets the peak to
# -3 dB and converts the result to FLAC, 16 kHz, mono, 16 bits. Run it in this folder. It needs flite 2.2 and sox 14.4.2.
set -eu
spoken=$(mktemp --suffix .wav)
trap 'rm -f "$spoken"' EXIT
while IFS='|' read -r name voice words; do
  flite -voice "$voice" -t "$words" -o "$spoken"
  sox -D "$spoken" -r 16000 -b 16 -c 1 -C 8 "$name.flac" \
    silence 1 0.01 0.3% reverse silence 1 0.01 0.3% reverse gain -n -3
done < texts.txt
