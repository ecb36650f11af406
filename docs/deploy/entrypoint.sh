#!/bin/sh
# `rtbench …` and `locust …` as they stand; options alone are Locust's, as operators of Kubernetes give them.
case "$1" in
    rtbench | locust) exec "$@" ;;
    *) exec locust "$@" ;;
esac
