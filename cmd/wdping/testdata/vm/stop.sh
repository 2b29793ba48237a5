#!/bin/sh
# SIGSTOP: one timeout after the last ping, which may be an interval ago.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
feed
sleep 3
kill -STOP "$feeder"
doom 2.5 5
