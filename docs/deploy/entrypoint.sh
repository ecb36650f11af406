#!/bin/sh
# `rtbench …` and `locust …` as they stand; options alone are Locust's, as operators of Kubernetes give them.
# A worker that is told where runs are uploaded uploads what its master has not got: its disk ends with the pod.
touch "${TMPDIR:-/tmp}/rtbench-started" 2>/dev/null # for health.sh
case "$1" in
    rtbench | locust) exec "$@" ;;
esac
case " $* " in
    *" --worker "*) [ -n "$LOCUST_UPLOAD" ] || exec locust "$@" ;;
    *) exec locust "$@" ;;
esac
locust "$@" &
worker=$!
trap 'kill -TERM "$worker"' TERM INT
wait "$worker"
status=$?
while kill -0 "$worker" 2>/dev/null; do # a signal ends `wait`, and not the worker
    wait "$worker"
    status=$?
done
for run in "${LOCUST_RUNS_DIR:-runs}"/*/; do
    if [ -e "$run/run.json" ]; then
        rtbench upload "$run" || status=2
    fi
done
exit "$status"
