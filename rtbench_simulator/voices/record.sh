#!/bin/sh
# Makes the replies: espeak-ng speaks each NAME.txt, and sox converts it to 24 kHz, mono, 16 bit, after some silence. When
# a reply is loaded, another silence replaces this one. Run it in this folder. It needs espeak-ng 1.51 and sox 14.4.
set -eu
say() { # NAME LEADING_SILENCE_S VARIANT
  espeak-ng -v "en-us+$3" -s 185 --stdout -f "$1.txt" |
    sox -D -t wav - -r 24000 -b 16 -c 1 -C 8 "$1.flac" silence 1 0.02 0.2% norm -10 pad "$2" 0.05
}
say hello 0.10 f3
say sure 0.20 f3
say order 0.15 f3
say weather 0.25 f3
say appointment 0.30 f3
