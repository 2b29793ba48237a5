#!/bin/sh
# Starved, reset, and the next boot knows it and of what; killed, reset, and the
# next boot knows that, too; then there have been resets enough.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

book=/disk/ledger
if [ ! -e "$book" ]; then
	part 'nothing is known of a reset'
	answer 0 '^bootstatus: 0' wdping -status
	cat >/run/hook <<-'END'
		#!/bin/sh
		env >/disk/hook
		sync
	END
	chmod 755 /run/hook
	feed -ledger "$book" -on-starve /run/hook
	sleep 3
	still
	until_told starving
	doom 2.5 5
fi
answer 0 "^bootstatus: $card" wdping -status
if ! grep -q '"event":"armed".*"event":"armed"' <<-END; then
	$(grep '"event":"armed"' "$book" | tr '\n' ' ')
END
	part 'starved'
	answer 0 "^last reset: watchdog \\($sure\\), starved of app: silent for " wdping -status -ledger "$book"
	want /disk/hook '^WD_ID=app$'
	want /disk/hook '^WD_REASON=silent for '
	feed -ledger "$book" -max-resets 2/1h
	want /run/out '"event":"reset","id":"app"'
	kill -9 "$feeder"
	doom 3.5 5
fi
part 'killed'
answer 0 "^last reset: watchdog \\($sure\\)" wdping -status -ledger "$book"
start -device "$node" -timeout 4s -fresh app:/run/app=2s -ledger "$book" -max-resets 2/1h
until_told stood_down
state inactive
alive 13
kill -TERM "$feeder"
ended 0 .
