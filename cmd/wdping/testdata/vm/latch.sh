#!/bin/sh
# With -latch there is no way back from starving.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

feed -timeout 10s -latch
still
until_told starving
sleep 2
beat
doom 5 10
