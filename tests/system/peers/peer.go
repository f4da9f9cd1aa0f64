// Go's TLS, as a client and as a server.
//
//	peer VERSION METHOD URL ROOTS FILE               as libcurl.py
//	peer serve ADDRESS CHAIN KEY ROOTS BACKEND       demands certificates; TLS 1.3; passes on to BACKEND
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func roots(file string) *x509.CertPool {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(must(os.ReadFile(file))) {
		log.Fatal("no certificates in ", file)
	}
	return pool
}

func ask(version, method, url, ca, file string) {
	v := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[version]
	client := http.Client{
		Timeout: 90 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots(ca), MinVersion: v, MaxVersion: v},
		},
	}
	var body io.Reader
	size := int64(0)
	if method == "PUT" {
		f := must(os.Open(file))
		size = must(f.Stat()).Size()
		if size > 0 {
			body = f
		}
	}
	request := must(http.NewRequest(method, url, body))
	request.ContentLength = size
	response := must(client.Do(request))
	if response.StatusCode != 200 || response.TLS.Version != v {
		log.Fatal(response.Status, response.TLS.Version)
	}
	to := os.Stdout
	if method == "GET" {
		to = must(os.Create(file))
	}
	must(io.Copy(to, response.Body))
}

func serve(address, chain, key, ca, backend string) {
	proxy := httputil.NewSingleHostReverseProxy(must(url.Parse(backend)))
	server := http.Server{
		Addr: address,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-via", fmt.Sprintf("go TLS 1.%d", r.TLS.Version-tls.VersionTLS10))
			proxy.ServeHTTP(w, r)
		}),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13,
			ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs:  roots(ca),
		},
	}
	log.Fatal(server.ListenAndServeTLS(chain, key))
}

func main() {
	if len(os.Args) != 6 && len(os.Args) != 7 {
		log.Fatal("usage: see the source")
	}
	if os.Args[1] == "serve" {
		serve(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6])
	}
	ask(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
}
