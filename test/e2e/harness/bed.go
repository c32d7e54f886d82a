// Package harness is a Kubernetes control plane on loopback for tests: etcd, kube-apiserver, Volcano's
// kinds, fake nodes, `basalt serve`, schedulers, and the auditor over all of it. What it starts it
// stops, also when a test fails, panics or is killed.
package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"basalt.io/e2e/auditor"
	"basalt.io/e2e/kubelet"
)

const adminToken = "e2e-admin-token"

// Bed is one running control plane.
type Bed struct {
	T          testing.TB // of the part that runs
	Test       testing.TB // that has started the bed
	Dir        string     // of logs, pid files, stores and sockets
	Kubeconfig string
	Config     *rest.Config
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface
	Auditor    *auditor.Auditor
	Kubelet    *kubelet.Kubelet
	Learn      bool // the server learns from Volcano's extender; set it before StartServe
	Quiet      bool // schedulers log as they do by default

	bin       string
	etcdPort  int
	apiPort   int
	etcd      *Process
	apiserver *Process
	serve     *Process
	httpPort  int
	others    []*Process
	ctx       context.Context
}

// Bin is the folder of the programs: E2E_BIN. A test without it fails: a bed that is not built is a
// mistake, not a reason to skip.
func Bin(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("E2E_BIN")
	if dir == "" {
		t.Fatal("E2E_BIN is not set; run scripts/e2e.sh, or test/e2e/build.sh and set it to its folder")
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

// Start brings up etcd, the API server with all kinds, the auditor and the node side.
func Start(t testing.TB) *Bed {
	t.Helper()
	b := &Bed{T: t, Test: t, bin: Bin(t), Auditor: auditor.New()}
	// Sockets have short paths; t.TempDir's are long.
	dir, err := os.MkdirTemp("", "basalt-e2e-")
	b.must(err)
	b.Dir = dir
	ctx, cancel := context.WithCancel(context.Background())
	b.ctx = ctx
	t.Cleanup(func() {
		cancel()
		b.stopAll()
		if t.Failed() {
			t.Logf("logs are kept in %s", b.Dir)
			return
		}
		_ = os.RemoveAll(b.Dir)
	})
	b.etcdPort, err = freePort()
	b.must(err)
	b.apiPort, err = freePort()
	b.must(err)
	b.writePKI()
	b.StartEtcd()
	b.StartAPIServer()
	b.connect()
	b.applyKinds()
	b.makeBasics()
	b.must(b.Auditor.Watch(ctx, b.Client))
	b.Kubelet, err = kubelet.Start(ctx, b.Client, b.Auditor)
	b.must(err)
	return b
}

// Context of the bed: it ends with it.
func (b *Bed) Context() context.Context { return b.ctx }

func (b *Bed) must(err error) {
	b.T.Helper()
	if err != nil {
		b.T.Fatal(err)
	}
}

func (b *Bed) stopAll() {
	for i := len(b.others) - 1; i >= 0; i-- {
		b.others[i].Stop(3 * time.Second)
	}
	// Servers lose nothing of interest: the folder goes with them.
	for _, p := range []*Process{b.serve, b.apiserver, b.etcd} {
		if p != nil && !p.Ended() {
			p.Kill()
		}
	}
}

// Run starts a program of the bed's folder that is stopped with the bed.
func (b *Bed) Run(name, program string, arguments ...string) *Process {
	b.T.Helper()
	p, err := startProcess(b.Dir, name, filepath.Join(b.bin, program), nil, arguments...)
	b.must(err)
	b.others = append(b.others, p)
	return p
}

func (b *Bed) writePKI() {
	pki := filepath.Join(b.Dir, "pki")
	b.must(os.Mkdir(pki, 0o700))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b.must(err)
	der, err := x509.MarshalECPrivateKey(key)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(pki, "sa.key"),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
	b.must(os.WriteFile(filepath.Join(b.Dir, "tokens.csv"),
		[]byte(adminToken+`,admin,admin-uid,"system:masters"`+"\n"), 0o600))
}

// StartEtcd starts etcd on the bed's folder, empty or as it was left.
func (b *Bed) StartEtcd() {
	b.T.Helper()
	peer, err := freePort()
	b.must(err)
	url := fmt.Sprintf("http://127.0.0.1:%d", b.etcdPort)
	peers := fmt.Sprintf("http://127.0.0.1:%d", peer)
	b.etcd, err = startProcess(b.Dir, "etcd", filepath.Join(b.bin, "etcd"), nil,
		"--data-dir="+filepath.Join(b.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+url, "--advertise-client-urls="+url,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers,
		"--initial-cluster=default="+peers, "--quota-backend-bytes=4294967296")
	b.must(err)
	b.waitHTTP(b.etcd, url+"/health", time.Minute)
}

// StartAPIServer starts the API server and waits until it is ready.
func (b *Bed) StartAPIServer() {
	b.T.Helper()
	pki := filepath.Join(b.Dir, "pki")
	url := fmt.Sprintf("https://127.0.0.1:%d", b.apiPort)
	var err error
	b.apiserver, err = startProcess(b.Dir, "kube-apiserver", filepath.Join(b.bin, "kube-apiserver"), nil,
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", b.etcdPort),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", b.apiPort),
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--cert-dir="+pki,
		"--token-auth-file="+filepath.Join(b.Dir, "tokens.csv"), "--authorization-mode=RBAC",
		"--anonymous-auth=false", "--service-account-issuer="+url,
		"--service-account-key-file="+filepath.Join(pki, "sa.key"),
		"--service-account-signing-key-file="+filepath.Join(pki, "sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--max-requests-inflight=2000",
		"--max-mutating-requests-inflight=1000",
		// No controller manager runs: nobody would untaint nodes or make service accounts.
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
	b.must(err)
	b.Config = &rest.Config{Host: url, BearerToken: adminToken, QPS: 2000, Burst: 4000,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(pki, "apiserver.crt")}}
	b.Until(3*time.Minute, "the API server is ready", func() error {
		if b.apiserver.Ended() {
			return fmt.Errorf("it has ended: %s", tail(b.apiserver.Log, 2000))
		}
		client, err := kubernetes.NewForConfig(b.Config)
		if err != nil {
			return err
		}
		_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(b.ctx)
		return err
	})
}

// KillAPIServer ends it at once, as a crash does.
func (b *Bed) KillAPIServer() { b.apiserver.Kill() }

func (b *Bed) connect() {
	var err error
	b.Client, err = kubernetes.NewForConfig(b.Config)
	b.must(err)
	b.Dynamic, err = dynamic.NewForConfig(b.Config)
	b.must(err)
	config := clientcmdapi.NewConfig()
	config.Clusters["e2e"] = &clientcmdapi.Cluster{Server: b.Config.Host,
		CertificateAuthority: b.Config.CAFile}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: adminToken}
	config.Contexts["e2e"] = &clientcmdapi.Context{Cluster: "e2e", AuthInfo: "admin"}
	config.CurrentContext = "e2e"
	b.Kubeconfig = filepath.Join(b.Dir, "kubeconfig")
	b.must(clientcmd.WriteToFile(*config, b.Kubeconfig))
}

func (b *Bed) makeNamespace(name string) error {
	_, err := b.Client.CoreV1().Namespaces().Create(b.ctx,
		&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}

func (b *Bed) makeBasics() {
	b.must(b.makeNamespace("volcano-system"))
	for name, value := range map[string]int32{"high": 1000, "low": 10} {
		_, err := b.Client.SchedulingV1().PriorityClasses().Create(b.ctx, priorityClass(name, value),
			metav1.CreateOptions{})
		b.must(err)
	}
	b.Until(20*time.Second, "the namespace default is there", func() error {
		_, err := b.Client.CoreV1().Namespaces().Get(b.ctx, "default", metav1.GetOptions{})
		return err
	})
}

// Until waits for the check to answer nil; the test fails when it does not in time.
func (b *Bed) Until(most time.Duration, what string, check func() error) {
	b.T.Helper()
	began := time.Now()
	var err error
	for {
		if err = check(); err == nil {
			return
		}
		if time.Since(began) > most {
			b.T.Fatalf("%s after which %s: not so: %v", most, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (b *Bed) waitHTTP(p *Process, url string, most time.Duration) {
	b.T.Helper()
	client := http.Client{Timeout: time.Second}
	b.Until(most, p.Name+" answers", func() error {
		if p.Ended() {
			b.T.Fatalf("%s has ended: %s", p.Name, tail(p.Log, 2000))
		}
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s says %s", url, response.Status)
		}
		return nil
	})
}
