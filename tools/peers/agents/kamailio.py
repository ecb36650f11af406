"""Kamailio in front of an agent, after the examples of its documentation: what their
configurations share.
"""

import os
import subprocess
from pathlib import Path

MODULES = ("tm", "sl", "rr", "pv", "textops", "siputils")
CONFIG = """#!KAMAILIO
fork=yes
children=2
tcp_children=2
auto_aliases=no
log_stderror=yes
{listen}
{modules}
{parameters}
request_route {{
    if (has_totag()) {{
        {within}
        if (loose_route() || is_method("ACK")) t_relay();
        exit;
    }}
    if (is_method("CANCEL")) {{ t_relay(); exit; }}
    {begin}
    t_relay();
}}
{routes}
"""


def started(addresses, modules, parameters, begin, within="", routes=""):
    """Start a proxy that listens at these addresses, and return its process.

    `begin` and `within` are the statements for requests outside and within a dialog, before they
    are relayed.
    """
    listen = "\n".join(f"listen={address}" for address in addresses)
    loaded = "\n".join(f'loadmodule "{name}.so"' for name in (*MODULES, *modules))
    Path("kamailio.cfg").write_text(
        CONFIG.format(
            listen=listen,
            modules=loaded,
            parameters=parameters,
            begin=begin,
            within=within,
            routes=routes,
        )
    )
    return subprocess.Popen(
        ["kamailio", "-DD", "-E", "-f", "kamailio.cfg", "-m", "64", "-M", "8", "-Y", os.getcwd()],
        stdout=subprocess.DEVNULL,
    )
