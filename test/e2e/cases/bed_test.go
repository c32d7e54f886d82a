package cases

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

const bedThatEnds = "E2E_BED_THAT_ENDS"

// TestBedThatEnds is run by the test below in a process of its own: it starts all kinds of processes and
// ends as it is told.
func TestBedThatEnds(t *testing.T) {
	how := os.Getenv(bedThatEnds)
	if how == "" {
		t.Skip("it is a part of TestNothingOutlivesTheTest")
	}
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 1, Cards: 1, Plugin: harness.Stock})
	b.StartSync(b.Target())
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), false))
	b.StartController()
	fmt.Printf("bed %s\n", b.Dir)
	switch how {
	case "pass":
	case "fail":
		t.Fatal("as it was told")
	case "panic":
		panic("as it was told")
	default:
		time.Sleep(time.Hour)
	}
}

// What a bed has started ends with the test, however that ends.
func TestNothingOutlivesTheTest(t *testing.T) {
	for _, how := range []string{"pass", "fail", "panic", "kill"} {
		t.Run(how, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestBedThatEnds$", "-test.v")
			child.Env = append(os.Environ(), bedThatEnds+"="+how)
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			dir := ""
			var lines []string
			for scanner := bufio.NewScanner(out); scanner.Scan(); {
				lines = append(lines, scanner.Text())
				if name, found := strings.CutPrefix(scanner.Text(), "bed "); found {
					dir = name
					if how == "kill" {
						if running := processesOf(t, dir); len(running) < 7 {
							t.Errorf("only %v run before it is killed", running)
						}
						_ = child.Process.Kill()
					}
				}
			}
			err = child.Wait()
			if dir == "" {
				t.Fatalf("it did not come to its end: %s", strings.Join(lines, "\n"))
			}
			if (err == nil) != (how == "pass") {
				t.Errorf("it ended with %v", err)
			}
			var running []string
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if running = processesOf(t, dir); len(running) == 0 {
					break
				}
			}
			if len(running) > 0 {
				t.Errorf("still there: %v", running)
			}
			_, err = os.Stat(dir)
			if kept := err == nil; how != "panic" && kept != (how != "pass") {
				t.Errorf("its folder %s is there: %v", dir, kept)
			}
			_ = os.RemoveAll(dir)
		})
	}
}

// processesOf are those that work in the folder of a bed: all that it has started do.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && at == dir {
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "comm"))
			out = append(out, filepath.Base(filepath.Dir(link))+" "+strings.TrimSpace(string(name)))
		}
	}
	return out
}
