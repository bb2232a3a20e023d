package main

import (
	"crypto/x509"
	"log/slog"
	"os"
)

// publicRoots are the authorities that members' browsers trust: those of this machine and those in a
// file. Where neither is to be had (nil) the certificates of public names are not judged: what this machine
// lacks must not pass for what they lack.
func publicRoots(file string, log *slog.Logger) *x509.CertPool {
	roots, err := x509.SystemCertPool()
	if err != nil {
		log.Warn("certificates of public names are not judged: no authorities on this machine", "err", err, "next", "apt install ca-certificates")
		return nil
	}
	usable := !roots.Equal(x509.NewCertPool())
	if file != "" {
		pem, err := os.ReadFile(file)
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			log.Warn("certificates of public names are not judged: public_ca_file holds none in PEM", "file", file, "err", err)
			return nil
		}
		usable = true
	}
	if !usable {
		log.Warn("certificates of public names are not judged: no authorities on this machine", "next", "apt install ca-certificates")
		return nil
	}
	return roots
}
