package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
)

// authority signs certificates of API servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return authority{cert, key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// server is for an API server with a key of its own.
func (a authority) server(t *testing.T, serial int64) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"api"}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	must(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}} //nolint:gosec // the default is TLS 1.2 and later
}

func TestANewCertificateIsTakenAndThatOfAStrangerIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, strangers := newAuthority(t), newAuthority(t)
		s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1"))
		s.UseTLS(ours.server(t, 2))
		a := startAgent(t, s, func(c *rest.Config) { c.Host, c.CAData = "https://api", ours.pem() })
		a.within(time.Minute, serving("10.0.0.1"))

		s.UseTLS(ours.server(t, 3))
		s.Set(apiSlice("10.0.0.1", "10.0.0.2"))
		t.Logf("renewed: %v", a.within(time.Minute, serving("10.0.0.1", "10.0.0.2")))

		s.Set(apiSlice("10.0.0.1", "10.0.0.2", "10.0.0.3"))
		a.within(time.Second, serving("10.0.0.1", "10.0.0.2", "10.0.0.3"))
		s.UseTLS(strangers.server(t, 4))
		s.Set(apiSlice("10.0.0.66"))
		a.untouched(5 * time.Minute)
		if !a.log.has("certificate signed by unknown authority") {
			t.Error("the log does not say what is wrong")
		}
		s.Set(apiSlice("10.0.0.1"))
		s.UseTLS(ours.server(t, 5))
		t.Logf("back: %v", a.within(2*time.Minute, serving("10.0.0.1")))
	})
}
