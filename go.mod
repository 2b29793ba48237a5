module vigil

go 1.26.0

require (
	github.com/mdlayher/watchdog v0.0.0-20221003142519-49be0df7b3b5
	github.com/rogpeppe/go-internal v1.16.0
	golang.org/x/sys v0.49.0
)

require golang.org/x/tools v0.26.0 // indirect
