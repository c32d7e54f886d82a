// helm-render lints and renders a chart with Helm's own library, as `helm lint --strict` and `helm
// template` do, for the tests of deploy/.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

// Of the control plane that test/e2e starts.
const kubernetes = "v1.34.1"

func render(chartPath, release, namespace string, values map[string]any, out io.Writer) error {
	var wrong []error
	for _, message := range lint.AllWithKubeVersion(chartPath, values, namespace,
		&chartutil.KubeVersion{Version: kubernetes, Major: "1", Minor: "34"}).Messages {
		if message.Severity >= support.WarningSev {
			wrong = append(wrong, message)
		}
	}
	if wrong != nil {
		return errors.Join(wrong...)
	}
	chart, err := loader.Load(chartPath)
	if err != nil {
		return err
	}
	if wanted := chart.Metadata.KubeVersion; !chartutil.IsCompatibleRange(wanted, kubernetes) {
		return fmt.Errorf("the chart wants Kubernetes %s, not %s", wanted, kubernetes)
	}
	all, err := chartutil.ToRenderValues(chart, values,
		chartutil.ReleaseOptions{Name: release, Namespace: namespace, IsInstall: true}, nil)
	if err != nil {
		return err
	}
	texts, err := engine.Render(chart, all)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if path.Ext(name) != ".yaml" || strings.TrimSpace(texts[name]) == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "---\n# Source: %s\n%s\n", name, texts[name]); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	release := flag.String("release", "rel", "name of the release")
	namespace := flag.String("namespace", "ns", "its namespace")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: helm-render [-release NAME] [-namespace NAME] CHART VALUES_JSON")
		os.Exit(2)
	}
	var values map[string]any
	err := json.Unmarshal([]byte(flag.Arg(1)), &values)
	if err == nil {
		err = render(flag.Arg(0), *release, *namespace, values, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
