// The first program of the image for Complement: makes what a homeserver needs at its start there, and becomes the
// homeserver, or in an image that holds a whole cluster starts that (cluster.go).
//
// Complement gives the name in SERVER_NAME and puts a certificate authority at /complement/ca. The certificate for the
// name is signed by it at each start, since an image that was committed is started again with another authority.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	authorityCertificate = "/complement/ca/ca.crt"
	authorityKey         = "/complement/ca/ca.key"
	certificate          = "/data/certificate.pem"
	certificateKey       = "/data/certificate.key"
	homeserver           = "/hearth"
)

func main() {
	name := os.Getenv("SERVER_NAME")
	if name == "" {
		log.Fatal("SERVER_NAME is not set")
	}
	if err := os.MkdirAll("/data", 0o700); err != nil {
		log.Fatal(err)
	}
	if err := sign(name); err != nil {
		log.Fatalf("no certificate for %s: %v", name, err)
	}
	if isCluster() {
		if err := runCluster(name); err != nil {
			log.Fatal(err)
		}
		return
	}
	environment := append(os.Environ(), "HEARTH__SERVER__NAME="+name)
	log.Fatal(syscall.Exec(homeserver, []string{"hearth", "serve", "--config", "/hearth.toml"}, environment))
}

// sign writes a new key, and a certificate for name that the authority of this run signed.
func sign(name string) error {
	authority, err := tls.LoadX509KeyPair(authorityCertificate, authorityKey)
	if err != nil {
		return err
	}
	parent, err := x509.ParseCertificate(authority.Certificate[0])
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(0, 1, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if address := net.ParseIP(name); address != nil {
		template.IPAddresses = []net.IP{address}
	} else {
		template.DNSNames = []string{name}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, authority.PrivateKey)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, secret := encoded("CERTIFICATE", signed), encoded("PRIVATE KEY", private)
	for path, text := range map[string][]byte{certificate: public, certificateKey: secret, bothInOne: append(public, secret...)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func encoded(kind string, bytes []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
}
