#!/bin/sh
# Nothing beats any more: one timeout after the last ping, the machine is reset.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
feed
sleep 3
still
until_told starving
want /run/err 'starving: app: silent for'
doom 2.5 5
