#!/bin/sh
# Software: gevent 26.9.0 with azure-identity 1.27.0 (PyPI, Python), as in a Locust file that signs in to Azure.
# Expected: gevent's patches (`monkey.patch_all`, which `import locust` calls) change how a program waits, and nothing else. If the
#           Azure CLI refuses a token, `AzureCliCredential` raises an error with the words of the CLI.
# Seen:     with gevent the words are lost: the error is "Failed to invoke Azure CLI", whatever the CLI printed.
#           gevent's subprocess.check_output(stderr=PIPE) reads stderr and drops it: CalledProcessError.stderr is None. With
#           gevent's subprocess.run(check=True) it is there.
# Why:      in a CI job the identity that signed in expires after 5 to 10 minutes (AADSTS700024), and a realtime load test asks
#           for its next token later. The same line is shown for a missing subscription, for multi-factor authentication, and for a
#           proxy, and none of these is mended by `az login`, which everybody tries.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install gevent==26.9.0 azure-identity==1.27.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

mkdir bin
cat >bin/az <<'EOF'
#!/bin/sh
echo "ERROR: AADSTS700024: Client assertion is not within its valid time range." >&2
exit 1
EOF
chmod +x bin/az

cat >show.py <<'EOF'
import sys

if sys.argv[1] == "gevent":
    from gevent import monkey

    monkey.patch_all()
import logging

from azure.identity import AzureCliCredential

logging.disable()
try:
    AzureCliCredential().get_token("https://cognitiveservices.azure.com/.default")
except Exception as error:
    print(error)
EOF
plain=$(PATH="$work/bin:$PATH" venv/bin/python show.py plain)
patched=$(PATH="$work/bin:$PATH" venv/bin/python show.py gevent)
echo "without gevent: $plain"
echo "with gevent:    $patched"
case "$plain/$patched" in
*AADSTS700024*/*AADSTS*) echo "CHANGED."; exit 1 ;;
*AADSTS700024*/*"Failed to invoke Azure CLI"*) echo "As described: gevent loses the reason." ;;
*) echo "CHANGED."; exit 1 ;;
esac
