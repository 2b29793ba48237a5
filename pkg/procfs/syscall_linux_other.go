//go:build !amd64 && !arm64

package procfs

// syscallNames are not known here: numbers are shown.
const syscallNames = ""
