#!/bin/sh
# kill -9: the kernel closes the device, and it resets the machine one timeout later.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
feed
sleep 3
kill -9 "$feeder"
doom "$after" "$before"
