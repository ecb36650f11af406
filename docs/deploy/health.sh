#!/bin/sh
# Checks the container: its process is neither stopped nor dead, and a run in progress was written to in the last five
# minutes (rows are written every second). It is for Docker; orchestrators have their own probes.
case "$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "${PROC:-/proc}/1/status")" in
    "" | T | t | X | Z) exit 1 ;;
esac
for spool in "${LOCUST_RUNS_DIR:-runs}"/*/spool; do
    run=${spool%/spool}
    [ -d "$spool" ] && [ "$spool" -nt "${TMPDIR:-/tmp}/rtbench-started" ] || continue # no run, or a run of an earlier container
    [ -n "$(find "$run" -mmin -5 -print -quit)" ] || exit 1
done
