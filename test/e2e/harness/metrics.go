package harness

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Metrics are the samples of one scrape, by name with labels as written.
type Metrics map[string]float64

// Scrape reads Prometheus text. Servers of the bed sign their certificates themselves.
func (b *Bed) Scrape(url string) Metrics {
	b.T.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // of this bed, on loopback
	defer client.CloseIdleConnections()
	response, err := client.Get(url)
	b.must(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.T.Fatalf("%s says %s", url, response.Status)
	}
	out := Metrics{}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		b.must(err)
		out[line[:at]] = value
	}
	b.must(lines.Err())
	return out
}

// Sum of the family's samples that have all these labels, each `name="value"`.
func (m Metrics) Sum(family string, labels ...string) float64 {
	total := 0.0
next:
	for sample, value := range m {
		name, rest, _ := strings.Cut(sample, "{")
		if name != family {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue next
			}
		}
		total += value
	}
	return total
}

// Mean of a histogram or summary between two scrapes, and of how many observations.
func (m Metrics) Mean(before Metrics, family string, labels ...string) (mean, count float64) {
	count = m.Sum(family+"_count", labels...) - before.Sum(family+"_count", labels...)
	if count == 0 {
		return 0, 0
	}
	return (m.Sum(family+"_sum", labels...) - before.Sum(family+"_sum", labels...)) / count, count
}

// CPU that the process has used.
func (p *Process) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may have spaces.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		one, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += one
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}
