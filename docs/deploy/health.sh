#!/bin/sh
# Whether the container is well: its process is neither stopped nor dead, and a run that is under way was written to within five minutes
# (rows go to disk every second). An orchestrator has probes of its own, Docker alone has this.
case "$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "${PROC:-/proc}/1/status")" in
    "" | T | t | X | Z) exit 1 ;;
esac
for spool in "${LOCUST_RUNS_DIR:-runs}"/*/spool; do
    run=${spool%/spool}
    [ -d "$spool" ] && [ "$spool" -nt "${TMPDIR:-/tmp}/rtbench-started" ] || continue # none, or one that an earlier container left
    [ -n "$(find "$run" -mmin -5 -print -quit)" ] || exit 1
done
