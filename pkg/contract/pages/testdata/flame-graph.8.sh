#!/bin/sh
# The examples of flame-graph(8).

### $ diagfifo sample -pidfile /run/web.pid for=10s | flame-graph >web.svg
service web
server web
example
has web.svg '</svg>'
has noon.svg 'web at noon'
