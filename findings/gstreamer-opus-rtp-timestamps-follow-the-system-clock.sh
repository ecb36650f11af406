#!/bin/sh
# Software: GStreamer 1.22.0 (Debian 12, amd64: gstreamer 1.22.0-2+deb12u1, plugins-base 1.22.0-3+deb12u7, plugins-good
#           1.22.0-5+deb12u4; the other libraries are those of Debian 12), an agent that pushes audio in buffers of 20 ms:
#           `appsrc is-live=true do-timestamp=true ! opusenc ! rtpopuspay`.
# Expected: the RTP timestamp increases by 960 for each packet of 20 ms: RFC 3550 section 5.1 wants the sampling clock, "not a
#           reading of the system clock". rtpopuspay has perfect-rtptime=true by default, and rtppcmupay behind the same source
#           increases by exactly 160.
# Seen:     the increments of Opus are readings of the system clock, such as 953 to 968, and further apart on a busy machine. The
#           sequence numbers have no gap, but about a third of the packets begin before the end of the packet before them, and
#           others leave holes. perfect-rtptime=true, also if it is given, does not change this. `opusenc perfect-timestamp=true`,
#           which is not the default, does: each increment is then 960.
# Why:      the audio is continuous, but its timestamps say that it is not. A receiver that places audio by the timestamps inserts
#           or cuts samples, takes a packet as late, or as the start of a new stream, and measures a wrong time of the speech in
#           it. The same agent with PCMU shows none of this.
# Takes about 25 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    apt-get download libgstreamer1.0-0=1.22.0-2+deb12u1 gstreamer1.0-plugins-base=1.22.0-3+deb12u7 \
        libgstreamer-plugins-base1.0-0=1.22.0-3+deb12u7 gstreamer1.0-plugins-good=1.22.0-5+deb12u4 \
        libglib2.0-0 libopus0 liborc-0.4-0 libunwind8 libdw1 libelf1 libcap2 &&
        for package in *.deb; do dpkg -x "$package" root || exit 1; done
    mkdir plugins
    for name in coreelements app opus rtp udp mulaw; do
        cp root/usr/lib/*-linux-gnu/gstreamer-1.0/libgst$name.so plugins || exit 1
    done
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import ctypes
import os
import socket
import struct
import threading
import time
from collections import Counter

PACKETS = 200
PLAYING, NULL = 4, 1
POINTER = ctypes.c_void_p


def function(library, name, result, *arguments):
    found = getattr(library, name)
    found.restype = result
    found.argtypes = arguments
    return found


gst = ctypes.CDLL("libgstreamer-1.0.so.0")
app = ctypes.CDLL("libgstapp-1.0.so.0")
gst_init = function(gst, "gst_init", None, POINTER, POINTER)
parse_launch = function(gst, "gst_parse_launch", POINTER, ctypes.c_char_p, POINTER)
get_by_name = function(gst, "gst_bin_get_by_name", POINTER, POINTER, ctypes.c_char_p)
set_state = function(gst, "gst_element_set_state", ctypes.c_int, POINTER, ctypes.c_int)
new_buffer = function(gst, "gst_buffer_new_allocate", POINTER, POINTER, ctypes.c_size_t, POINTER)
memset = function(
    gst, "gst_buffer_memset", ctypes.c_size_t, POINTER, ctypes.c_size_t, ctypes.c_uint8, ctypes.c_size_t
)
version = function(gst, "gst_version_string", POINTER)
push = function(app, "gst_app_src_push_buffer", ctypes.c_int, POINTER, POINTER)


def feed(source, size):
    """Push a buffer each 20 ms, as an agent does."""
    started_s = time.monotonic()
    for number in range(PACKETS + 20):
        time.sleep(max(0, started_s + number * 0.02 - time.monotonic()))
        buffer = new_buffer(None, size, None)
        memset(buffer, 0, 0, size)
        push(source, buffer)


def increments(rate_hz, encoder):
    """Return by how much the RTP timestamp increases from packet to packet, without the first ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        port = receiver.getsockname()[1]
        caps = f"audio/x-raw,format=S16LE,rate={rate_hz},channels=1,layout=interleaved"
        source = f"appsrc name=source format=time is-live=true do-timestamp=true caps={caps}"
        pipeline = parse_launch(
            f"{source} ! {encoder} ! udpsink sync=false async=false host=127.0.0.1 port={port}".encode(), None
        )
        set_state(pipeline, PLAYING)
        feeder = threading.Thread(target=feed, args=(get_by_name(pipeline, b"source"), rate_hz // 25))
        feeder.start()
        packets = [struct.unpack_from("!HI", receiver.recv(2000), 2) for _ in range(PACKETS)][10:]
        feeder.join()
        set_state(pipeline, NULL)
    pairs = list(zip(packets, packets[1:]))
    assert all((after[0] - before[0]) % 65536 == 1 for before, after in pairs)
    return [(after[1] - before[1]) % 2**32 for before, after in pairs]


def share(rate_hz, ticks, encoder):
    """Print the increments; return which share of them is less than `ticks`, and which share is equal."""
    found = increments(rate_hz, encoder)
    early = sum(value < ticks for value in found)
    equal = found.count(ticks)
    often = Counter(found).most_common(8)
    print(encoder)
    print(f"  {len(found)} increments, all sequence numbers consecutive: {min(found)} to {max(found)},")
    print(f"  on average {sum(found) / len(found):.1f}; equal to {ticks}: {equal}, less: {early};")
    print(f"  most frequent: {', '.join(f'{value} ({count})' for value, count in often)}", flush=True)
    return early / len(found), equal / len(found)


gst_init(None, None)
print(ctypes.string_at(version()).decode())
opus, _ = share(48_000, 960, "opusenc ! rtpopuspay")
asked, _ = share(48_000, 960, "opusenc ! rtpopuspay perfect-rtptime=true")
_, perfect = share(48_000, 960, "opusenc perfect-timestamp=true ! rtpopuspay")
_, pcmu = share(8_000, 160, "mulawenc ! rtppcmupay")
same = min(opus, asked) > 0.02 and min(perfect, pcmu) > 0.95
print("As described: packets of Opus overlap in media time." if same else "CHANGED.", flush=True)
os._exit(0 if same else 1)  # without the teardown of GStreamer's threads
EOF
libraries=$(echo "$work"/root/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH="$libraries:$(echo "$work"/root/lib/*-linux-gnu)"
export GST_PLUGIN_SYSTEM_PATH_1_0="$work/plugins" GST_REGISTRY_1_0="$work/registry"
export GST_PLUGIN_SCANNER_1_0="$libraries/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner"
python3 show.py
