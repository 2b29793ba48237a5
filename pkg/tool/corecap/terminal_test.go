package corecap

import (
	"os"
	"strings"
	"testing"

	"vigil/pkg/cli"
)

func TestTerminal(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func(stdout *os.File) { os.Stdout = stdout }(os.Stdout)
	os.Stdout = pty
	defer pty.Close()
	var stderr strings.Builder
	env := &cli.Env{Tool: tool, Stdout: pty, Stderr: &stderr, Log: cli.NewLog("corecap", &stderr)}
	if code := run(env, []string{"-o", "-", "1"}); code != cli.ExitUsage || !strings.Contains(stderr.String(), "stdout is a terminal") {
		t.Errorf("code %d: %s", code, &stderr)
	}
}
