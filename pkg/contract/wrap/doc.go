// Package wrap tries the scripts that are put before another program, or between
// two hosts, under each shell: vigil-run, vigil-cron and hb-forward. It has only
// tests.
package wrap
