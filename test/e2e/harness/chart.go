package harness

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Chart is the Helm chart of deploy/, rendered by Helm's library and created at the API server. No
// kubelet runs its pods: Start... run their programs with their arguments, their configuration, their
// certificates and the rights of their service accounts, and nothing else.
type Chart struct {
	bed       *Bed
	release   string
	namespace string
	objects   []*unstructured.Unstructured
	grpcPort  int
}

// ClientName is the common name of the clients' certificate.
const ClientName = "basalt-client"

// InstallChart renders the chart with these values over its own, and creates each object; what the API
// server does not know in one of them is an error.
func (b *Bed) InstallChart(release, namespace string, values map[string]any) *Chart {
	b.T.Helper()
	b.applyKindsOf("crds-monitoring")
	text, err := json.Marshal(values)
	b.must(err)
	var failed bytes.Buffer
	command := exec.Command(filepath.Join(b.bin, "helm-render"), "-release", release, "-namespace", namespace,
		filepath.Join("..", "..", "..", "deploy", "helm", "basalt"), string(text))
	command.Stderr = &failed
	rendered, err := command.Output()
	if err != nil {
		b.T.Fatalf("helm-render: %v: %s", err, failed.String())
	}
	c := &Chart{bed: b, release: release, namespace: namespace}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(rendered), 4096)
	for {
		one := &unstructured.Unstructured{}
		err := decoder.Decode(&one.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		b.must(err)
		if one.Object != nil {
			c.objects = append(c.objects, one)
		}
	}
	if namespace != metav1.NamespaceDefault {
		b.must(b.makeNamespace(namespace))
	}
	groups, err := restmapper.GetAPIGroupResources(b.Client.Discovery())
	b.must(err)
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for _, one := range c.objects {
		kind := one.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		b.must(err)
		var at dynamic.ResourceInterface = b.Dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == "namespace" {
			in := one.GetNamespace()
			if in == "" {
				in = namespace
			}
			at = b.Dynamic.Resource(mapping.Resource).Namespace(in)
		}
		if _, err := at.Create(b.ctx, one, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
			b.T.Fatalf("%s %s: %v", one.GetKind(), one.GetName(), err)
		}
	}
	c.writeCertificates()
	return c
}

// host is the engine's name in its certificate.
func (c *Chart) host() string { return c.release + "-engine." + c.namespace + ".svc" }

func (c *Chart) file(parts ...string) string {
	return filepath.Join(append([]string{c.bed.Dir, "chart"}, parts...)...)
}

// writeCertificates makes the secrets engine-tls and client-tls as folders.
func (c *Chart) writeCertificates() {
	b := c.bed
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		b.must(err)
		return key
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	}
	authorityKey, authority := newKey(), template(1, "test CA")
	authority.IsCA, authority.BasicConstraintsValid, authority.KeyUsage = true, true, x509.KeyUsageCertSign
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	b.must(err)
	for i, of := range []string{"engine-tls", "client-tls"} {
		leaf := template(int64(i+2), ClientName)
		leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if of == "engine-tls" {
			leaf.Subject.CommonName, leaf.DNSNames = c.host(), []string{c.host()}
			leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
		b.must(err)
		keyDER, err := x509.MarshalECPrivateKey(key)
		b.must(err)
		b.must(os.MkdirAll(c.file(of), 0o700))
		for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der},
			"tls.key": {Type: "EC PRIVATE KEY", Bytes: keyDER}, "ca.crt": {Type: "CERTIFICATE", Bytes: authorityDER}} {
			b.must(os.WriteFile(c.file(of, name), pem.EncodeToMemory(block), 0o600))
		}
	}
}

func (c *Chart) object(kind, part string) map[string]any {
	name := c.release + "-" + part
	for _, one := range c.objects {
		if one.GetKind() == kind && one.GetName() == name {
			return one.Object
		}
	}
	c.bed.T.Fatalf("the chart has no %s %s", kind, name)
	return nil
}

// here is a text of the chart with the container's paths and addresses as they are on this machine.
func (c *Chart) here(text, secret string) string {
	return strings.NewReplacer(
		"/etc/basalt/tls", c.file(secret),
		"/etc/basalt/config", c.file("config"),
		"/run/basalt/basalt.sock", c.bed.Socket(),
		"/var/lib/basalt", filepath.Join(c.bed.Dir, "store"),
		"0.0.0.0:7070", fmt.Sprintf("127.0.0.1:%d", c.grpcPort),
		"0.0.0.0:7071", fmt.Sprintf("127.0.0.1:%d", c.bed.httpPort),
		c.host()+":7070", fmt.Sprintf("127.0.0.1:%d", c.grpcPort),
	).Replace(text)
}

// config writes a ConfigMap's files, and returns the arguments of the workload's container.
func (c *Chart) config(kind, part, secret string) []string {
	b := c.bed
	b.must(os.MkdirAll(c.file("config"), 0o755))
	if part != "sync" {
		data, _, err := unstructured.NestedStringMap(c.object("ConfigMap", part), "data")
		b.must(err)
		for name, text := range data {
			b.must(os.WriteFile(c.file("config", name), []byte(c.here(text, secret)), 0o644))
		}
	}
	containers, _, err := unstructured.NestedSlice(c.object(kind, part), "spec", "template", "spec", "containers")
	b.must(err)
	arguments, _, err := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
	b.must(err)
	for i := range arguments {
		arguments[i] = c.here(arguments[i], secret)
	}
	return arguments
}

// Kubeconfig of a part's service account.
func (c *Chart) kubeconfig(part string) string {
	b := c.bed
	hour := int64(3600)
	token, err := b.Client.CoreV1().ServiceAccounts(c.namespace).CreateToken(b.ctx, c.release+"-"+part,
		&authentication.TokenRequest{Spec: authentication.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	b.must(err)
	config := clientcmdapi.NewConfig()
	config.Clusters["e2e"] = &clientcmdapi.Cluster{Server: b.Config.Host, CertificateAuthority: b.Config.CAFile}
	config.AuthInfos["part"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["e2e"] = &clientcmdapi.Context{Cluster: "e2e", AuthInfo: "part", Namespace: c.namespace}
	config.CurrentContext = "e2e"
	path := c.file(part + ".kubeconfig")
	b.must(clientcmd.WriteToFile(*config, path))
	return path
}

// StartEngine runs the engine's container.
func (c *Chart) StartEngine() {
	b := c.bed
	b.T.Helper()
	var err error
	c.grpcPort, err = freePort()
	b.must(err)
	b.httpPort, err = freePort()
	b.must(err)
	arguments := c.config("StatefulSet", "engine", "engine-tls")
	b.serve, err = startProcess(b.Dir, "basalt", b.program(), nil, arguments...)
	b.must(err)
	client := c.HTTPS(true)
	b.Until(20*time.Second, "the engine answers", func() error {
		if b.serve.Ended() {
			b.T.Fatalf("it has ended: %s", tail(b.serve.Log, 2000))
		}
		_, err := c.Ask(client, http.MethodGet, "/healthz", "")
		return err
	})
}

// HTTPS client of the engine, with the clients' certificate or without.
func (c *Chart) HTTPS(certificate bool) *http.Client {
	b := c.bed
	authority, err := os.ReadFile(c.file("client-tls", "ca.crt"))
	b.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	config := &tls.Config{RootCAs: pool, ServerName: c.host()}
	if certificate {
		pair, err := tls.LoadX509KeyPair(c.file("client-tls", "tls.crt"), c.file("client-tls", "tls.key"))
		b.must(err)
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

// Ask the engine's HTTP side.
func (c *Chart) Ask(client *http.Client, method, path, body string) (string, error) {
	request, err := http.NewRequestWithContext(c.bed.ctx, method, fmt.Sprintf("https://127.0.0.1:%d%s", c.bed.httpPort, path),
		strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, response.Status, text)
	}
	return string(text), err
}

// UntilReady waits until the engine decides.
func (c *Chart) UntilReady() {
	c.bed.T.Helper()
	client := c.HTTPS(true)
	c.bed.Until(60*time.Second, "the engine is ready", func() error {
		_, err := c.Ask(client, http.MethodGet, "/readyz", "")
		return err
	})
}

// StartSync runs the container of basalt-sync.
func (c *Chart) StartSync() *Process {
	b := c.bed
	b.T.Helper()
	port, err := freePort()
	b.must(err)
	arguments := c.config("Deployment", "sync", "client-tls")
	for i, argument := range arguments {
		if strings.HasPrefix(argument, "--health=") {
			arguments[i] = fmt.Sprintf("--health=127.0.0.1:%d", port)
		}
	}
	p := b.Run("basalt-sync", "basalt-sync", append(arguments, "--kubeconfig="+c.kubeconfig("sync"))...)
	b.waitHTTP(p, fmt.Sprintf("http://127.0.0.1:%d/readyz", port), 60*time.Second)
	return p
}

// StartKubeScheduler runs the container of the second kube-scheduler, and waits for its readiness probe.
func (c *Chart) StartKubeScheduler() *Process {
	b := c.bed
	b.T.Helper()
	port, err := freePort()
	b.must(err)
	arguments := c.config("Deployment", "kube-scheduler", "client-tls")
	kubeconfig := c.kubeconfig("kube-scheduler")
	// In a pod all three are the service account's.
	path := c.file("config", "config.yaml")
	text, err := os.ReadFile(path)
	b.must(err)
	b.must(os.WriteFile(path, fmt.Appendf(text, "\nclientConnection: {kubeconfig: %q}\n", kubeconfig), 0o644))
	for i, argument := range arguments {
		if strings.HasPrefix(argument, "--secure-port=") {
			arguments[i] = fmt.Sprintf("--secure-port=%d", port)
		}
	}
	p := b.Run("basalt-kube-scheduler", "basalt-kube-scheduler", append(arguments, "--bind-address=127.0.0.1",
		"--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig)...)
	// As a kubelet probes: without looking at the certificate, without one of its own.
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	b.Until(60*time.Second, "the scheduler's readiness probe is content", func() error {
		if p.Ended() {
			b.T.Fatalf("it has ended: %s", tail(p.Log, 2000))
		}
		response, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/readyz", port))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("it says %s", response.Status)
		}
		return nil
	})
	return p
}

// StartVolcano runs the container of Volcano's scheduler.
func (c *Chart) StartVolcano() *Process {
	b := c.bed
	b.T.Helper()
	metrics, err := freePort()
	b.must(err)
	health, err := freePort()
	b.must(err)
	arguments := c.config("Deployment", "volcano", "client-tls")
	p := b.Run("basalt-vc-scheduler", "basalt-vc-scheduler", append(arguments, "--kubeconfig="+c.kubeconfig("volcano"),
		fmt.Sprintf("--listen-address=127.0.0.1:%d", metrics), fmt.Sprintf("--healthz-address=127.0.0.1:%d", health))...)
	b.openVolcanoQueues(p)
	return p
}

// May asks the API server whether a part's service account has a right.
func (c *Chart) May(part, verb, group, resource, namespace string) bool {
	b := c.bed
	b.T.Helper()
	resource, subresource, _ := strings.Cut(resource, "/")
	review, err := b.Client.AuthorizationV1().SubjectAccessReviews().Create(b.ctx, &authorization.SubjectAccessReview{
		Spec: authorization.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + c.namespace + ":" + c.release + "-" + part,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + c.namespace, "system:authenticated"},
			ResourceAttributes: &authorization.ResourceAttributes{Verb: verb, Group: group, Resource: resource,
				Subresource: subresource, Namespace: namespace}}}, metav1.CreateOptions{})
	b.must(err)
	return review.Status.Allowed
}

// Forbidden are the lines of a program's log in which the API server has refused it something.
func (p *Process) Forbidden() []string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(strings.ToLower(line), "forbidden") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
