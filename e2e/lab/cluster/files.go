package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
)

// files are the paths of what the components read and write, in the state directory.
type files struct {
	dir, etcdData, etcdBackup   string
	authority                   string
	serverCert, serverKey       string
	accountsKey, accountsPublic string // sign the tokens of ServiceAccounts
	kubeconfig                  string // the administrator's
	audit, auditPolicy          string
}

func newFiles(dir string) files {
	in := func(name string) string { return filepath.Join(dir, name) }
	return files{
		dir: dir, etcdData: in("etcd"), etcdBackup: in("etcd-backup"),
		authority:  in("ca.crt"),
		serverCert: in("apiserver.crt"), serverKey: in("apiserver.key"),
		accountsKey: in("serviceaccounts.key"), accountsPublic: in("serviceaccounts.pub"),
		kubeconfig: in("admin.kubeconfig"),
		audit:      in("audit.log"), auditPolicy: in("audit-policy.yaml"),
	}
}

// write makes all keys anew and writes what the components read. It returns the administrator's credential for an API
// server at host.
func (f files) write(o *Options, host string) (*rest.Config, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	server, err := ca.server(names, o.serverAddresses())
	if err != nil {
		return nil, err
	}
	admin, err := ca.client("admin", "system:masters")
	if err != nil {
		return nil, err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	accountsKey, err := privatePEM(accounts)
	if err != nil {
		return nil, err
	}
	accountsPublic, err := publicPEM(&accounts.PublicKey)
	if err != nil {
		return nil, err
	}
	// QPS -1: tests make many objects, and the server bears it.
	config := &rest.Config{Host: host, QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAData: ca.pem, CertData: admin.cert, KeyData: admin.key,
	}}
	kubeconfig, err := Kubeconfig(config)
	if err != nil {
		return nil, err
	}
	var errs []error
	for file, content := range map[string][]byte{
		f.authority: ca.pem, f.serverCert: server.cert, f.serverKey: server.key,
		f.accountsKey: accountsKey, f.accountsPublic: accountsPublic,
		f.kubeconfig: kubeconfig, f.auditPolicy: []byte(auditPolicy),
	} {
		errs = append(errs, os.WriteFile(file, content, 0o600))
	}
	return config, errors.Join(errs...)
}
