#!/bin/sh
# A supervisor that ends a starving wdping must not save the machine from its reset.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
feed
still
until_told starving
kill -TERM "$feeder"
ended 3 'left armed: starving: app: silent for'
state active
doom 3.5 5
