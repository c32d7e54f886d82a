package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is a program that the bed has started. Its output goes to NAME.log, its pid to NAME.pid in
// the bed's folder.
type Process struct {
	Name    string
	Log     string
	Metrics string // URL of its Prometheus metrics; empty: none
	cmd     *exec.Cmd
	done    chan struct{}
	err     error
}

type start struct {
	cmd  *exec.Cmd
	done chan error
}

var starter = sync.OnceValue(func() chan start {
	starts := make(chan start)
	go func() {
		// A child dies with the thread that started it (Pdeathsig): this thread lives as long as the
		// test's process, so that nothing survives a test that is killed or panics.
		runtime.LockOSThread()
		for one := range starts {
			one.done <- one.cmd.Start()
		}
	}()
	return starts
})

func startProcess(dir, name, program string, environment []string, arguments ...string) (*Process, error) {
	path := filepath.Join(dir, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, arguments...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	one := start{cmd, make(chan error)}
	starter() <- one
	if err := <-one.done; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &Process{Name: name, Log: path, cmd: cmd, done: make(chan struct{})}
	pid := filepath.Join(dir, name+".pid")
	if err := os.WriteFile(pid, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644); err != nil {
		p.Kill()
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		_ = os.Remove(pid)
		close(p.done)
	}()
	return p, nil
}

// Ended says whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Pid of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends it at once (-9) and waits.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Pause stops the process where it is, until Resume.
func (p *Process) Pause() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Stop asks it to end, and ends it after the time.
func (p *Process) Stop(most time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(most):
		p.Kill()
	}
}

// freePort of the loopback interface. Another process may take it before it is used; then the program
// that was to have it ends, and its log says so.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func tail(path string, most int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}
