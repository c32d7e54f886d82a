// Package bench measures schedulers on the end-to-end bed: the same workload, one arm after the other,
// in one run. scripts/e2e.sh bench runs it; E2E_SCALE shrinks it.
package bench

import (
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
)

// Nodes of 8 cards, of all benchmarks but the extender's.
const nodeCount = 1000

func scaled(t testing.TB, count int) int {
	text := os.Getenv("E2E_SCALE")
	if text == "" {
		return count
	}
	scale, err := strconv.ParseFloat(text, 64)
	if err != nil || scale <= 0 {
		t.Fatalf("E2E_SCALE is %q; write a number above 0", text)
	}
	return max(1, int(float64(count)*scale))
}

func card() map[string]string { return map[string]string{"nvidia.com/gpu": "1"} }

func configuration(actions, plugin string) string {
	return `actions: "` + actions + `"
tiers:
- plugins:
  - name: priority
  - name: gang
- plugins:
` + plugin + `  - name: predicates
  - name: proportion
  - name: nodeorder
`
}

func ours(target string) string {
	return configuration("enqueue, basalt, backfill", `  - name: basalt
    arguments: {basalt.target: "`+target+`", basalt.gangTimeout: 10s}
`)
}

func extender(url string) string {
	return configuration("enqueue, allocate, backfill", `  - name: extender
    arguments:
      extender.urlPrefix: `+url+`
      extender.httpTimeout: 5s
      extender.predicateVerb: predicate
      extender.prioritizeVerb: prioritize
      extender.allocateFuncVerb: allocateFunc
      extender.deallocateFuncVerb: deallocateFunc
`)
}

// quantile of ascending values, 0 to 1.
func quantile(values []float64, q float64) float64 {
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

// around is the median, and where it lies with 95 % certainty (order statistics; no distribution is
// assumed).
func around(values []float64) (median, low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := float64(len(sorted))
	half := 0.98 * math.Sqrt(n)
	return quantile(sorted, 0.5), sorted[max(0, int(n/2-half))], sorted[min(len(sorted)-1, int(n/2+half))]
}
