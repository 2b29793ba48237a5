#!/bin/sh
# The examples of tune-plot(8).

### $ hbwatch tune -tsv /var/log/vigil.trace | tune-plot -t "last week" >week.svg
hbwatch tune -synth jitter -beats 20000 >/var/log/vigil.trace
example
has week.svg 'last week'
has week.svg '</svg>'
