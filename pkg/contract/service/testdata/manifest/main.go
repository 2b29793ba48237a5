// Command manifest reads a Deployment as the API server of Kubernetes does, which
// takes no member that it does not know, and prints the commands of the probes.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	var d apps.Deployment
	if err == nil {
		err = yaml.UnmarshalStrict(text, &d)
	}
	if err == nil && (d.Kind != "Deployment" || d.APIVersion != "apps/v1" || len(d.Spec.Template.Spec.Containers) != 1) {
		err = fmt.Errorf("%s %s: want a Deployment of apps/v1 with one container", d.APIVersion, d.Kind)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := d.Spec.Template.Spec.Containers[0]
	commands := map[string][]string{}
	for name, p := range map[string]*core.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if p != nil && p.Exec != nil {
			commands[name] = p.Exec.Command
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(commands); err != nil {
		os.Exit(1)
	}
}
