//go:build !(386 || amd64 || arm || arm64 || mips || mipsle || ppc64le || riscv64 || s390x)

package procfs

// syscallNames are not known here: numbers are shown.
const syscallNames = ""
