#!/bin/sh
# Runs `rtbench …` and `locust …` unchanged. Options without a command are Locust's, as Kubernetes operators pass them.
# A worker with LOCUST_UPLOAD uploads the data that its master has not received, because its disk is deleted with the pod.
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
while kill -0 "$worker" 2>/dev/null; do # a signal ends `wait`, but not the worker
    wait "$worker"
    status=$?
done
for run in "${LOCUST_RUNS_DIR:-runs}"/*/; do
    if [ -e "$run/run.json" ]; then
        rtbench runs upload "$run" || status=2
    fi
done
exit "$status"
