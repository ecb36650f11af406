"""SIPp as an agent: its scenario `uas`, with a recording that `rtp_stream` sends at fixed times.
It prints its port.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from g711 import encode
from ports import free_port
from python_talk import tone
from sip_calls import HOST, RATE_HZ

SPEAK = (
    '<nop><action><exec rtp_stream="voice.ul,1,0,PCMU/8000"/></action></nop><pause'
    ' milliseconds="4000"/>'
)
TIMES = 3

scenario = subprocess.run(
    ["sipp", "-sd", "uas"], capture_output=True, text=True, check=False
).stdout
scenario = scenario.replace("[media_port]", "[rtpstream_audio_port]")
scenario = re.sub(r'(<recv request="ACK"\s+)optional="true"', r"\1", scenario)
scenario = re.sub(r'(<recv request="BYE">)', lambda found: SPEAK * TIMES + found[1], scenario)
Path("uas.xml").write_text(scenario)
Path("voice.ul").write_bytes(
    encode(np.concatenate([tone(RATE_HZ), np.zeros(800, np.int16)])).tobytes()
)
port = free_port()
print(port, flush=True)
sys.stdout.flush()
nothing = os.open(os.devnull, os.O_WRONLY)
os.dup2(nothing, 1)
command = ["sipp", "-sf", "uas.xml", "-i", HOST, "-mi", HOST, "-p", str(port), "-nostdin"]
os.execvp("sipp", command)
